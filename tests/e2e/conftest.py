"""One platform for the end-to-end tests, started as a user starts it, on ports of its own."""

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.platform import TOOLS, Platform

PORTS = 40


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`metering-local up` in a folder of its own, `down` at the end whatever happened."""
    state = tmp_path_factory.mktemp("platform")
    environment = os.environ | {"METERING_STATE_DIR": str(state), "METERING_PORT_BASE": str(free_port_block())}
    local = str(TOOLS / "metering-local")
    try:
        subprocess.run([local, "up"], env=environment, check=True, timeout=180)
        yield Platform(environment | exported(state / "local.env"))
    finally:
        subprocess.run([local, "down"], env=environment, check=True, timeout=60)
    check_nothing_secret(state)


def check_nothing_secret(state: Path) -> None:
    """All that any process has logged while the tests ran: no token, no password, no key."""
    names = ("_KEY", "_DATABASE_URL", "_PASSWORD")
    given = {value for name, value in exported(state / "local.env").items() if name.endswith(names)}
    secrets = "|".join(re.escape(urlsplit(value).password or value) for value in given)
    searched = re.compile(rf"{secrets}|eyJ[\w-]{{20,}}\.|PRIVATE KEY")
    logs = sorted((state / "logs").glob("*.log*"))
    assert logs
    for log in logs:
        found = searched.search(log.read_text(errors="replace"))
        assert found is None, f"a secret, {found.group()[:3]}…, stands in {log.name} at {found.start()}"


def exported(file: Path) -> dict[str, str]:
    """What a shell would have after sourcing the file of `export` lines."""
    script = f'set -a; . "{file}"; env -0'
    printed = subprocess.run(["/bin/sh", "-c", script], env={}, capture_output=True, check=True).stdout.decode()
    return dict(
        line.split("=", 1) for line in printed.split("\0") if line and not line.startswith(("PWD=", "SHLVL=", "_="))
    )


def free_port_block() -> int:
    """The first port of a free block, below the ephemeral range."""
    for base in range(20_000, 30_000, PORTS):
        if all(is_free(port) for port in range(base, base + PORTS)):
            return base
    raise AssertionError("no free block of ports")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
