"""Fixtures of auth's tests: a migrated database, metering-admin, and the service, in this process or in its own."""

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from auth_support import AuthClient
from pydantic import SecretStr

from metering_auth.application.instants import Instants, database_clock
from metering_auth.bootstrap import build
from metering_auth.settings import AuthSettings
from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_common.service.settings import KafkaSettings
from metering_local.free_ports import free_port
from metering_local.testing import FreshDatabase

MIGRATIONS = Path(__file__).parents[1] / "migrations"
DICTIONARY = Path(__file__).parents[3] / "data" / "sensor_dictionary.json"
MASTER_KEY = SecretStr(base64.urlsafe_b64encode(bytes(range(32))).decode())
START_SECONDS = 60
STOP_SECONDS = 20
SECRET_TEXT = re.compile(
    r"eyJ[\w-]{10,}"  # the beginning of a token, or of its claims
    r"|PRIVATE KEY"
    r"|(?<=://)[^:/@\s\"]+:[^@\s\"]{4,}(?=@)"  # a user and a password
    rf"|{MASTER_KEY.get_secret_value()[:20]}"
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Whatever any test of auth has logged or printed, in this process, is searched for secrets when the test ends."""
    report = yield
    written = "".join(text for _, text in report.sections)
    if report.when == "teardown" and (found := SECRET_TEXT.search(written)):
        report.outcome = "failed"
        report.longrepr = f"a secret was written: {found.group()[:6]}… at {found.start()} of the captured output"
    return report


def check_nothing_secret(log: str) -> None:
    """As above, for the log of a process of its own."""
    found = SECRET_TEXT.search(log)
    assert found is None, f"a secret was written: {found.group()[:6]}… at {found.start()} of a process's log"


def migrate(dsn: SecretStr) -> None:
    """As production does it: dbmate, as a plain owner."""
    url = dsn.get_secret_value()
    url += "&sslmode=disable" if "?" in url else "?sslmode=disable"
    dbmate = str(Path(sys.executable).with_name("dbmate"))
    command = [dbmate, "--url", url, "--migrations-dir", str(MIGRATIONS), "--no-dump-schema", "up"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def auth_database(database: FreshDatabase) -> FreshDatabase:
    """A fresh database with auth's tables."""
    migrate(database.owner_dsn)
    return database


@pytest.fixture
async def pool(auth_database: FreshDatabase) -> AsyncIterator[TimedPool]:
    """As the service's role: what it may not do, tests may not either."""
    async with postgres.pool(auth_database.dsn_for("auth_service"), application_name="test", max_size=10) as opened:
        yield opened


@pytest.fixture
def auth_settings(auth_database: FreshDatabase, kafka: KafkaSettings) -> Callable[..., AuthSettings]:
    """Settings of a service on free ports; a test may say otherwise."""
    return partial(
        AuthSettings,
        database_url=auth_database.dsn_for("auth_service"),
        key_encryption_key=MASTER_KEY,
        http_host="127.0.0.1",
        http_port=0,
        admin_host="127.0.0.1",
        admin_port=0,
        public_url="https://auth.example",
        failures_per_address_per_minute=60_000,
        attempts_per_gateway_per_minute=60_000,
        kafka=kafka,
    )


@pytest.fixture
def start_auth(auth_settings: Callable[..., AuthSettings]) -> Callable[..., AbstractAsyncContextManager[AuthClient]]:
    """The service in this process: `async with start_auth(key_publish_seconds=1) as client`."""

    @asynccontextmanager
    async def start(instants: Instants = database_clock, **changed: object) -> AsyncIterator[AuthClient]:
        async with build(auth_settings(**changed), instants) as service:
            running = asyncio.create_task(service.run())
            async with aiohttp.ClientSession() as session:
                yield AuthClient(session, f"http://127.0.0.1:{service.http_port}")
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    return start


@pytest.fixture
async def auth(start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]]) -> AsyncIterator[AuthClient]:
    """The service in this process, as it is by default."""
    async with start_auth() as client:
        yield client


@pytest.fixture
def auth_environment(auth_database: FreshDatabase, kafka: KafkaSettings) -> dict[str, str]:
    """What a process of its own needs: the service but for its ports, and metering-admin."""
    return os.environ | {
        "AUTH_DATABASE_URL": auth_database.dsn_for("auth_service").get_secret_value(),
        "AUTH_KEY_ENCRYPTION_KEY": MASTER_KEY.get_secret_value(),
        "AUTH_HTTP_HOST": "127.0.0.1",
        "AUTH_ADMIN_HOST": "127.0.0.1",
        "AUTH_PUBLIC_URL": "https://auth.example",
        "AUTH_FAILURES_PER_ADDRESS_PER_MINUTE": "60000",
        "AUTH_ATTEMPTS_PER_GATEWAY_PER_MINUTE": "60000",
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENVIRONMENT": "laptop",
        "METERING_OPERATOR": "ana",
    }


@pytest.fixture
def admin(auth_environment: dict[str, str]) -> Callable[..., Any]:
    """metering-admin in a process of its own, as operations runs it; what it prints with --json.

    It blocks: where the service runs in the same loop and is waited for, call it with `asyncio.to_thread`.
    """

    def run(*arguments: object, **environment: str) -> Any:
        command = [sys.executable, "-m", "metering_auth.cli", *map(str, arguments), "--json"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=auth_environment | environment)
        check_nothing_secret(done.stderr)
        assert done.returncode == 0, f"{arguments}: {done.stderr or done.stdout}"
        return json.loads(done.stdout)

    return run


@dataclass
class AuthProcess:
    """`python -m metering_auth` on ports of its own; its log is a file."""

    process: subprocess.Popen[bytes]
    http_port: int
    admin_port: int
    log: Path

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=5) as answer:
            return str(answer.read(), "utf-8")

    def wait_ready(self) -> None:
        give_up_at = time.monotonic() + START_SECONDS
        while not self._ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < give_up_at, self.log.read_text()
            time.sleep(0.1)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """Orderly; also after SIGSTOP."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            self.process.wait(STOP_SECONDS)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=5):
                return True
        except OSError:
            return False


@pytest.fixture
def start_process(auth_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., AuthProcess]]:
    """Auth in a process of its own, which a test may kill or stop."""
    started: list[AuthProcess] = []

    def start(**environment: str) -> AuthProcess:
        http_port, admin_port = free_port(), free_port()
        ports = {"AUTH_HTTP_PORT": str(http_port), "AUTH_ADMIN_PORT": str(admin_port)}
        log = tmp_path / f"auth-{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "metering_auth"],
                env=auth_environment | ports | environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started.append(AuthProcess(process, http_port, admin_port, log))
        started[-1].wait_ready()
        return started[-1]

    yield start
    for process in started:
        process.stop()
    for process in started:
        check_nothing_secret(process.log.read_text())


@dataclass(frozen=True)
class Site:
    """One provider with one gateway."""

    provider: int
    gateway: int


@pytest.fixture
def site(admin: Callable[..., Any]) -> Site:
    provider = admin("provider", "add", "Uno")["id"]
    return Site(provider, admin("gateway", "add", "--provider", provider, "Edificio central")["id"])
