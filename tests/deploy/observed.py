"""A real run of the platform under a real Prometheus: the local stack with the demo's data, a prober, a busy poller."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import yaml

from metering_local import demo_heat
from metering_local.checkout import ROOT
from metering_local.free_ports import free_port
from metering_local.local_env import exports
from metering_local.testing_stack import LocalStack, local_stack

RULES = ROOT / "deploy/observability/prometheus/rules"
CONFIGURATION = ROOT / "deploy/observability/prometheus/prometheus.yml"
WAIT_SECONDS = 600
UP_TRIES = 5  # on a machine that does much else `up` gives up before it is ready; repeated it goes on
SERVICES = ("ingest-api", "validator", "writer", "registers", "auth", "ecl-poller")


@dataclass(frozen=True)
class Observed:
    """Where the panels' queries go."""

    prometheus_url: str
    database_url: str = field(repr=False)  # holds a password

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The instant vector of a query, NaN left out."""
        form = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{self.prometheus_url}/api/v1/query?{form}", timeout=30) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return [series for series in result if series["value"][1] != "NaN"]

    def select(self, query: str) -> list[tuple[Any, ...]]:
        return asyncio.run(self._select(query))

    async def _select(self, query: str) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


@contextmanager
def observed_platform(folder: Path) -> Iterator[Observed]:
    """Everything that shows something is made to happen once while Prometheus looks."""
    platform = local_stack(folder / "platform")
    with ExitStack() as stack:
        stack.callback(platform.run, "down")
        bring_up(platform)
        environment = os.environ | exports(platform.stack)
        prober = stack.enter_context(running_prober(folder, environment))
        targets = {
            name: environment[f"METERING_{name.upper().replace('-', '_')}_ADMIN_URL"].split(",") for name in SERVICES
        }
        url = stack.enter_context(running_prometheus(folder, targets | {"prober": [prober]}))
        observed = Observed(url, environment["METERING_DATABASE_URL"])
        make_mistakes(environment["METERING_API_URL"])
        run(platform, "metering-demo")
        poll_with_the_service(platform, environment, observed)
        make_mistakes(environment["METERING_API_URL"])
        until(observed, "sum(metering_prober_queryable_seconds_count) > 3")
        until(observed, "metering:queryable:slow_ratio_rate6h >= 0 and metering:requests:error_ratio_rate6h >= 0")
        yield observed


def run(platform: LocalStack, program: str, *arguments: str) -> None:
    command = [str(Path(sys.executable).parent / program), *arguments]
    environment = platform.environment | exports(platform.stack)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def bring_up(platform: LocalStack) -> None:
    for _ in range(UP_TRIES - 1):
        with contextlib.suppress(AssertionError):
            return run(platform, "metering-local", "up")
    return run(platform, "metering-local", "up")


def poll_with_the_service(platform: LocalStack, environment: dict[str, str], observed: Observed) -> None:
    """The demo polls by hand; what the running poller would ask within the hour is made due now."""
    demo = platform.stack.state / "demo"
    with demo_heat._emulator() as emulator:
        serials = demo_heat._new_controllers(emulator)
        demo_heat._introduce(demo, environment, emulator, serials, lambda _: None)
        asyncio.run(execute(environment["ECL_DATABASE_URL"], "UPDATE controller SET next_due = now() WHERE enabled"))
        until(observed, 'sum(metering_ecl_polls_total{result="done"}) > 1')


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def make_mistakes(url: str) -> None:
    """What ingest-api and auth answer with problems, several of them twice, so that Prometheus sees them grow."""
    for _ in range(3):
        for path, token in (
            ("/api/v1/server-time", None),
            ("/api/v1/server-time", "no.such.token"),
            ("/nothing", None),
        ):
            request = urllib.request.Request(url + path, headers={"authorization": f"Bearer {token}"} if token else {})
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(request, timeout=10).close()
        body = json.dumps({"refreshToken": "no.such.token"}).encode()
        request = urllib.request.Request(f"{url}/api/v1/auth/token/refresh", body, {"content-type": "application/json"})
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(request, timeout=10).close()
        time.sleep(1.5)


@contextmanager
def running_prober(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Enrolled as its README says; its admin URL. It also watches the certificate of a server of the test's own."""

    def admin(*arguments: str) -> Any:
        command = [str(Path(sys.executable).parent / "metering-admin"), *arguments, "--json"]
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)

    provider = str(admin("provider", "add", "Prober")["id"])
    gateway = str(admin("gateway", "add", "--provider", provider, "prober")["id"])
    admin("device", "add", "--provider", provider, "--number", "prober", "--interval-seconds", "2")
    issued = folder / "issued.json"
    issued.write_text(json.dumps(admin("gateway", "issue-token", gateway)))
    with certified_server(folder) as certified:
        port = free_port()
        settings = {
            "PROBER_ADMIN_HOST": "127.0.0.1",
            "PROBER_ADMIN_PORT": str(port),
            "PROBER_API_URL": environment["METERING_API_URL"],
            "PROBER_DATABASE_URL": environment["METERING_DATABASE_URL"],
            "PROBER_STATE_DIRECTORY": str(folder / "prober"),
            "PROBER_TOKEN_FILE": str(issued),
            "PROBER_EVERY_SECONDS": "2",
            "PROBER_INSPECT_SECONDS": "2",
            "PROBER_CERTIFICATES": certified,
        }
        log = (folder / "prober.log").open("w")
        with running([sys.executable, "-m", "metering_prober"], log, settings | {"PATH": os.environ["PATH"]}):
            yield f"http://127.0.0.1:{port}"


@contextmanager
def certified_server(folder: Path) -> Iterator[str]:
    """`host:port` of something with a certificate, since the local stack speaks no TLS."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(key), "-out", str(certificate), "-days", "90", "-subj", "/CN=kafka"]
    subprocess.run([*openssl, *files], check=True, capture_output=True)
    port = free_port()
    command = [
        "openssl",
        "s_server",
        "-quiet",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        str(certificate),
        "-key",
        str(key),
    ]
    with running(command, (folder / "certified.log").open("w"), dict(os.environ)):
        yield f"127.0.0.1:{port}"


@contextmanager
def running_prometheus(folder: Path, targets: Mapping[str, list[str]]) -> Iterator[str]:
    """With the committed configuration's jobs and rules, at these addresses and every second."""
    configuration = yaml.safe_load(CONFIGURATION.read_text())
    assert {job["job_name"] for job in configuration["scrape_configs"]} == set(targets)
    hosts = {name: [urllib.parse.urlsplit(url).netloc for url in urls] for name, urls in targets.items()}
    jobs = [{"job_name": name, "static_configs": [{"targets": found}]} for name, found in hosts.items()]
    every = {"scrape_interval": "1s", "evaluation_interval": "2s"}
    file = folder / "prometheus.yml"
    file.write_text(json.dumps({"global": every, "rule_files": [f"{RULES}/*.yaml"], "scrape_configs": jobs}))
    address = f"127.0.0.1:{free_port()}"
    where = [f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}", f"--web.listen-address={address}"]
    with running(["prometheus", *where], (folder / "prometheus.log").open("w"), dict(os.environ)):
        yield f"http://{address}"


@contextmanager
def running(command: list[str], log: Any, environment: dict[str, str]) -> Iterator[None]:
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def until(observed: Observed, query: str) -> None:
    """Waits until the query gives something."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if observed.ask(query):
                return
        time.sleep(0.5)
    raise AssertionError(f"nothing came of {query}")
