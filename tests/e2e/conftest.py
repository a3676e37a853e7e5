"""One platform for the end-to-end tests, started as a user starts it, on ports of its own."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from metering_local.testing_stack import local_stack
from tests.e2e.platform import Platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """`metering-local up` in a folder and on ports of its own; ended at the end whatever happened."""
    local = local_stack(tmp_path_factory.mktemp("platform"))
    state = local.stack.state
    try:
        local.up()
        yield Platform(local.environment | exported(state / "local.env"))
    finally:
        done = local.run("down")
    assert (done.returncode, done.stderr.strip()) == (0, "")
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
