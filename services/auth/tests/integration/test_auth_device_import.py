"""A file of devices: staged first, taken at once or not at all, and nobody's revocation waits for it."""

import asyncio
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from auth_support import AuthClient

from metering_auth.adapters.postgres import owners
from metering_auth.adapters.postgres.revocation import RevocationInstant
from metering_auth.domain.actor import Actor
from metering_common.postgres.pool import TimedPool
from metering_common.registry.replica import RegistryReplica
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings

OPERATOR = Actor("operator", "test")
DICTIONARY = Path(__file__).parents[4] / "data" / "sensor_dictionary.json"
MANY = 100_000
MEMORY_LIMIT = 300 * 1024 * 1024  # bytes, resident at most
BETWEEN_REVOCATIONS_SECONDS = 0.2
LONGEST_SECONDS = 480  # on a machine that is busy with much else


class Site(NamedTuple):
    provider: int
    gateway: int


def write(path: Path, *rows: list[object]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def dictionary(admin: Callable[..., Any]) -> None:
    admin("sensor", "import", DICTIONARY)


def run_import(environment: dict[str, str], *arguments: object) -> tuple[int, dict[str, Any]]:
    """Status and what was printed, of a command that may fail."""
    command = [sys.executable, "-m", "metering_auth.cli", "device", "import", *map(str, arguments), "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.usefixtures("dictionary")
def test_one_bad_line_changes_nothing_and_every_bad_line_is_told(
    auth_environment: dict[str, str], admin: Callable[..., Any], site: Site, tmp_path: Path
) -> None:
    header: list[object] = ["number", "zone", "interval_seconds", "sensors"]
    file = write(
        tmp_path / "devices.csv",
        header,
        ["1", "", "", ""],
        ["2", "Mars/Olympus", "", ""],
        ["3", "Etc/GMT-1", "900", "EACTIVE|Corriente A"],
        ["1", "", "", ""],
        ["", "", "", ""],
        ["4", "", "soon", "Nada"],
    )
    status, report = run_import(auth_environment, "--provider", site.provider, file)
    assert (status, report["imported"]) == (1, False)
    assert [fault["line"] for fault in report["faults"]] == [3, 5, 6, 7]
    assert admin("device", "list", "--provider", site.provider) == []
    status, report = run_import(auth_environment, "--provider", site.provider, "--partial", file)
    assert (status, report["added"], len(report["faults"])) == (0, 2, 4)
    first, third = admin("device", "list", "--provider", site.provider)
    assert (first["number"], len(first["sensors"])) == ("1", 30)
    assert (third["zone"], third["intervalSeconds"], len(third["sensors"])) == ("Etc/GMT-1", 900, 2)


@pytest.mark.usefixtures("dictionary")
def test_the_audit_tells_of_each_imported_device_what_it_was_and_is(
    admin: Callable[..., Any], site: Site, tmp_path: Path
) -> None:
    """Not only that a file was imported: a device's own history is whole. What stayed as it was is no event."""
    file = tmp_path / "devices.csv"
    for interval in (900, 900, 3_600):
        write(file, ["number", "interval_seconds"], ["1", interval], ["2", 900])
        admin("device", "import", "--provider", site.provider, file)
    first, second = (device["id"] for device in admin("device", "list", "--provider", site.provider))
    added, changed = admin("audit", "--subject", f"device:{first}")
    assert (added["action"], added["before"], added["after"]["intervalSeconds"]) == ("device.added", None, 900)
    assert (changed["action"], changed["before"]["intervalSeconds"]) == ("device.changed", 900)
    assert changed["after"] == added["after"] | {"intervalSeconds": 3_600}
    assert [event["action"] for event in admin("audit", "--subject", f"device:{second}")] == ["device.added"]
    assert len(admin("audit", "--action", "device.imported")) == 3


@pytest.mark.usefixtures("dictionary")
def test_what_is_exported_imports_as_it_was(admin: Callable[..., Any], site: Site, tmp_path: Path) -> None:
    devices = write(
        tmp_path / "in.csv", ["number", "sensors", "active"], ["Ñandú 1", "EACTIVE", "false"], ['2,"x"', "", ""]
    )
    exported = tmp_path / "out.csv"
    assert admin("device", "import", "--provider", site.provider, devices)["added"] == 2
    first = admin("device", "list", "--provider", site.provider)[0]
    exchanged = ("device", "exchange", "add", first["id"], "--sensor", "EACTIVE")
    admin(*exchanged, "--at", "2026-03-11T15:00:00-03:00", "--closing", "801.3", "--opening", "12345")
    admin(*exchanged, "--at", "2026-05-01T00:00Z")
    admin("device", "set", first["id"], "--maximum-rate", "EACTIVE=12.5")
    before = admin("device", "list", "--provider", site.provider)
    assert admin("device", "export", "--provider", site.provider, exported) == {"exported": 2}
    again = admin("device", "import", "--provider", site.provider, exported)
    assert (again["added"], again["changed"], again["unchanged"]) == (0, 0, 2)
    assert admin("device", "list", "--provider", site.provider) == before
    dictionary = tmp_path / "dictionary.json"
    dictionary.write_text(json.dumps(admin("sensor", "export")))
    assert admin("sensor", "import", dictionary) == {"added": 0, "changed": 0, "unchanged": 30}


@pytest.mark.usefixtures("dictionary")
async def test_100000_devices_are_visible_at_once_and_a_revocation_meanwhile_takes_2_seconds_at_most(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]],
    auth_environment: dict[str, str],
    kafka: KafkaSettings,
    *,
    pool: TimedPool,
    site: Site,
    tmp_path: Path,
) -> None:
    """Counts are read all the time: only 0 and 100,000 are ever seen. Revocations go on beside the import."""
    rows: list[list[object]] = [[f"M-{number:06}", "Etc/GMT-1", 900] for number in range(MANY)]
    file = write(tmp_path / "many.csv", ["number", "zone", "interval_seconds"], *rows)
    async with start_auth(), RegistryReplica.open(kafka, SystemClock()) as replica:
        await asyncio.wait_for(replica.wait_ready(), 30)
        importing = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "metering_auth.cli",
                "device",
                "import",
                "--provider",
                str(site.provider),
                str(file),
            ),
            env=auth_environment,
        )
        since = time.monotonic()
        ended = asyncio.create_task(importing.wait())
        counts, delays, peak = set(), [], 0
        while not ended.done() or len(replica.registry.devices) < MANY:
            counts.add(await pool.fetchval("SELECT count(*) FROM device"))
            delays.append(await revoke_and_wait(pool, replica, site.gateway))
            peak = max(peak, resident_bytes(importing.pid))
            assert time.monotonic() - since < LONGEST_SECONDS
            await asyncio.sleep(BETWEEN_REVOCATIONS_SECONDS)
        seconds = time.monotonic() - since
    assert await ended == 0
    assert counts == {0, MANY}
    assert max(delays) < 2
    assert peak < MEMORY_LIMIT
    slowest = max(delays)
    print(f"{MANY} devices: {seconds:.1f} s, {peak >> 20} MiB; {len(delays)} revocations, {slowest:.2f} s")  # noqa: T201  figures


async def revoke_and_wait(pool: TimedPool, replica: RegistryReplica, gateway: int) -> float:
    """Seconds from the beginning of a revocation to its arrival at the replica."""
    since = time.monotonic()
    async with pool.acquire() as connection:
        revoked = await owners.revoke_gateway(connection, OPERATOR, gateway, RevocationInstant())
    while (replica.registry.gateways[gateway].revoked_at or 0) < (revoked.revoked_at or 0):  # noqa: ASYNC110  polled
        await asyncio.sleep(0.01)
    return time.monotonic() - since


def resident_bytes(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


async def test_an_import_that_was_killed_leaves_nothing_behind(
    auth_environment: dict[str, str], pool: TimedPool, site: Site, tmp_path: Path
) -> None:
    rows: list[list[object]] = [[f"M-{number:06}"] for number in range(30_000)]
    file = write(tmp_path / "many.csv", ["number"], *rows)
    importing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "metering_auth.cli", "device", "import", "--provider", str(site.provider), str(file)),
        env=auth_environment,
    )
    while not await pool.fetchval("SELECT count(*) FROM device_import_line"):  # noqa: ASYNC110  the database has no event
        await asyncio.sleep(0.01)
    importing.kill()
    await importing.wait()
    assert await pool.fetchval("SELECT count(*) FROM device") in {0, 30_000}
    status, report = await asyncio.to_thread(run_import, auth_environment, "--provider", site.provider, file)
    assert (status, report["added"] + report["unchanged"]) == (0, 30_000)
    assert await pool.fetchval("SELECT count(*) FROM device") == 30_000
