"""A Docker engine of the tests' own, with stand-ins for what it cannot pull; no measure passes before the images run.

Debian's `docker.io` and `debootstrap` are installed if they are missing (as root). Where DOCKER_HOST is set, that
engine is used and nothing is made up: its images are the real ones.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from metering_cluster.debian import have
from metering_local.tether import tethered

CLIENT = "/usr/bin/docker"
START_SECONDS = 90
LIMITS = ("--default-ulimit", "nofile=16384:16384", "--default-ulimit", "nproc=30000:30000")
"""Needed on a machine without CAP_SYS_RESOURCE."""
CLOSED = ("--iptables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none")
"""Containers reach each other and nothing else, and the machine's own rules stay as they are."""


@dataclass(frozen=True)
class Engine:
    """One engine at `host` (a DOCKER_HOST); `own` if it is ours, with stand-ins."""

    host: str
    own: bool

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "1"}

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """`docker ARGUMENTS`; AssertionError with its words if it fails and `check` is on."""
        command = [client(), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"docker {' '.join(arguments[:4])}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def docker(self, *arguments: str) -> str:
        """What `docker ARGUMENTS` printed."""
        return self.run(*arguments).stdout.strip()

    def has_image(self, name: str) -> bool:
        return self.run("image", "inspect", name, check=False).returncode == 0


def client() -> str:
    """Debian's client knows BuildKit by itself; others need a plugin for it."""
    return CLIENT if Path(CLIENT).exists() else "docker"


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """An engine until the context is left: DOCKER_HOST's, else one of our own with its data in `folder`."""
    if given := os.environ.get("DOCKER_HOST"):
        yield Engine(given, own=False)
        return
    have("dockerd", "docker.io")
    folder.mkdir(parents=True, exist_ok=True)
    socket, pidfile = folder / "d.sock", folder / "d.pid"
    places = [f"--host=unix://{socket}", f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}"]
    command = [shutil.which("dockerd") or "", *places, f"--pidfile={pidfile}", *LIMITS, *CLOSED]
    with (folder / "dockerd.log").open("wb") as log:
        command = tethered(command, "SIGTERM")  # it ends with its tests, its containers with it
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    own = Engine(f"unix://{socket}", own=True)
    try:
        _await(own, process, folder / "dockerd.log")
        yield own
    finally:
        _end(own, process)


def _await(own: Engine, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while own.run("info", check=False).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"dockerd did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)


def _end(own: Engine, process: "subprocess.Popen[bytes]") -> None:
    """Containers first: they would outlive the engine. Images that a newer build replaced are given up."""
    if process.poll() is None:
        if running := own.run("ps", "-aq", check=False).stdout.split():
            own.run("rm", "-fv", *running, check=False)
        for kind in ("network", "image"):
            own.run(kind, "prune", "-f", check=False)
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def secrets_of_this_machine(environment: Mapping[str, str] = os.environ) -> list[str]:
    """`docker build`'s options by which pip and uv find the index the way they do here; nothing of it is kept."""
    bundle = environment.get("PIP_CERT") or environment.get("SSL_CERT_FILE")
    configuration = environment.get("PIP_CONFIG_FILE") or "/etc/pip.conf"
    uv = environment.get("UV_CONFIG_FILE") or str(Path.home() / ".config/uv/uv.toml")
    files = {"ca": bundle, "pip": configuration, "uv": uv}
    given = [["--secret", f"id={name},src={file}"] for name, file in files.items() if file and Path(file).is_file()]
    proxies = [name for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") if environment.get(name)]
    return [part for pair in given for part in pair] + [part for name in proxies for part in ("--build-arg", name)]
