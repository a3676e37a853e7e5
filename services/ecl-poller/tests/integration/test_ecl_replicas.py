"""Ten virtual days with outages, two replicas and kills: every sample that the portal ever had is stored once."""

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from metering_common.postgres.instants import unix_ms_of
from metering_common.postgres.pool import pool
from metering_ecl_poller.adapters.postgres.poll_store import PostgresPollStore
from metering_ecl_poller.bootstrap import keyring
from metering_ecl_poller.domain import poll_result
from metering_ecl_poller.domain.job import ControllerLeaseLostError, DeviceProgress
from metering_ecl_poller.domain.window import Cursor
from metering_ecl_poller.settings import PollerSettings
from metering_local.postgres import PostgresServer
from metering_local.testing import FreshDatabase
from tests.emulators.ecl_portal import fleet, world
from tests.emulators.ecl_portal.connected import DAY_MS, HOUR_MS, NOON_MS
from tests.emulators.ecl_portal.station import Key, Station, differences, interval_of, number_of, standing
from tests.emulators.ecl_portal.storing import Storing, storing

REPLICA = Path(__file__).parents[1] / "replica.py"
ROOT = Path(__file__).parents[4]
SEED = 20_260_311
STEP_HOURS = 4
KILLS = 6
LEASE_SECONDS = 600.0


@contextmanager
def replica(station: Station, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    settings = station.settings
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "KAFKA_ENVIRONMENT": "laptop",
        "ECL_DATABASE_URL": settings.database_url.get_secret_value(),
        "ECL_KEY_ENCRYPTION_KEY": settings.key_encryption_key.get_secret_value(),
        "ECL_ADMIN_HOST": "127.0.0.1",
        "ECL_ADMIN_PORT": "0",
        "ECL_IDLE_SECONDS": "0.05",
        "ECL_LEASE_SECONDS": "5",
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, str(REPLICA), station.emulator.control_url], env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.chaos  # not in CI: did not pass in its last run (CHANGELOG, *Known*)
async def test_ten_days_with_outages_two_replicas_and_kills(
    poller_settings: PollerSettings, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """What does it do? Ten days pass in steps of hours, during which lines are cut, meters fall silent, codes are
    revoked and given back, and a replica is killed at random moments and another started in its place; a validator and
    a writer take what the poller sends.

    How is it known? The emulator's own account of every sample and hole is compared with the rows and `measurement_gap`
    in SQL, and with the poller's own tables.
    """
    chance = random.Random(SEED)
    async with (
        standing(poller_settings, 3, 1) as station,
        storing(poller_settings.kafka, postgres_server, tmp_path) as storage,
    ):
        for controller in station.controllers:
            make_trouble(chance, controller)
        kills = sorted(chance.sample(range(2, 10 * 24 // STEP_HOURS - 2), KILLS))
        with replica(station, tmp_path / "steady.log") as steady:
            await live_through(station, kills, chance, tmp_path / "killed.log")
            assert steady.poll() is None, (tmp_path / "steady.log").read_text()[-2_000:]
        begin = NOON_MS - 8 * DAY_MS
        found = since(begin, await storage.all_of(len(await station.raw())))
        assert differences(found, since(begin, station.had())) == []
        assert storage.counted() == {"refused": 0, "not_taken": 0, "corrected": 0, "superseded": 0}
        assert await recorded_gaps(station) == true_gaps(station)
        assert_holes_in_sql(station, storage, begin)
        for portal in station.emulator.portals.values():
            assert max(count for serial, count in portal.most_at_once.items() if serial != "all") <= 2


def since(begin_ms: int, samples: Mapping[Key, float]) -> dict[Key, float]:
    return {key: value for key, value in samples.items() if key[2] * 1_000 >= begin_ms}


def assert_holes_in_sql(station: Station, storage: Storing, begin_ms: int) -> None:
    """From the first to the last sample of each device since then SQL tells the emulator's holes, and no other."""
    seen = 0
    for controller in station.controllers:
        for device in controller.devices:
            number = number_of(controller, device)
            step = interval_of(number) * 1_000
            every = [row.stamp_ms for row in world.rows(controller, device, station.now_ms, 0)]
            stamps = [stamp for stamp in every if stamp >= begin_ms]
            true = [
                (last, following - step) for last, following in itertools.pairwise(stamps) if following - last > step
            ]
            assert (storage.holes(station.ids[number], stamps[0], stamps[-1]) if stamps else []) == true
            seen += len(true)
    assert seen > 0


async def live_through(station: Station, kills: list[int], chance: random.Random, log: Path) -> None:
    """One replica lives on; the other is killed and replaced as often as planned."""
    victims = replica(station, log)
    victim = victims.__enter__()
    try:
        for step in range(10 * 24 // STEP_HOURS):
            station.emulator.clock.advance(STEP_HOURS * 3_600)
            if step in kills:
                await asyncio.sleep(chance.random() * 0.5)
                os.kill(victim.pid, signal.SIGKILL)
                victims.__exit__(None, None, None)
                victims = replica(station, log)
                victim = victims.__enter__()
            await readmit_all(station)
            await station.settled()
        for controller in station.controllers:
            controller.access_codes[fleet.ACCESS_CODE] = True
            await station.register.readmit(controller.serial, station.now_ms)
        await station.hours(2)
    finally:
        victims.__exit__(None, None, None)


def make_trouble(chance: random.Random, controller: world.Controller) -> None:
    """Cut lines of one to thirty hours, a silent meter; all within the ten days and ended before them."""
    for _ in range(3):
        start = NOON_MS + chance.randrange(8 * 24) * HOUR_MS
        controller.outages.append((start, start + chance.randint(1, 30) * HOUR_MS))
    start = NOON_MS + chance.randrange(8 * 24) * HOUR_MS
    controller.devices[2].silent.append((start, start + chance.randint(2, 12) * HOUR_MS))


async def readmit_all(station: Station) -> None:
    """A code is revoked now and then, and given back: the operator tests it and the controller is asked again."""
    for row in await station.register.controllers():
        if row["state"] == "denied":
            await station.register.readmit(row["serial"], station.now_ms)
    controller = station.controllers[station.now_ms // HOUR_MS % len(station.controllers)]
    enabled = controller.access_codes[fleet.ACCESS_CODE]
    controller.access_codes[fleet.ACCESS_CODE] = not enabled or station.now_ms // HOUR_MS % 3 > 0


async def recorded_gaps(station: Station) -> set[tuple[str, str, int, int]]:
    return {
        (row["device"], channel, unix_ms_of(row["from_at"]), unix_ms_of(row["to_at"]))
        for row in await station.register.gaps()
        for channel in row["channels"]
    }


def true_gaps(station: Station) -> set[tuple[str, str, int, int]]:
    return {
        (device.id, channel.id, *span)
        for controller in station.controllers
        for device in controller.devices
        for span in world.gaps(controller, device, station.now_ms)
        for channel in device.channels
    }


@asynccontextmanager
async def two_stores(settings: PollerSettings) -> AsyncIterator[tuple[PostgresPollStore, PostgresPollStore]]:
    async with pool(settings.database_url, application_name="test") as database:
        one, two = (PostgresPollStore(database, keyring(settings), holder, LEASE_SECONDS) for holder in ("one", "two"))
        yield one, two


def time_passes(database: FreshDatabase, seconds: float) -> None:
    """For the leases, whose clock is the database's."""
    database.sql(f"UPDATE controller SET leased_until = leased_until - make_interval(secs => {seconds});")


async def test_a_lease_is_held_by_one_and_taken_over_when_it_runs_out(
    poller_settings: PollerSettings, ecl_database: FreshDatabase
) -> None:
    async with standing(poller_settings, 2, 0) as station, two_stores(poller_settings) as (one, two):
        later = station.now_ms + HOUR_MS
        first, second = await asyncio.gather(one.claim(later, 1), two.claim(later, 5))
        assert len(first) + len(second) == 2
        assert {job.serial for job in first} & {job.serial for job in second} == set()
        assert await one.claim(later, 5) == []
        time_passes(ecl_database, LEASE_SECONDS - 1)
        assert await one.claim(later, 5) == []
        await one.renew()
        time_passes(ecl_database, LEASE_SECONDS - 1)
        taken = await one.claim(later, 5)
        assert [job.serial for job in taken] == [job.serial for job in second]
        assert [job.lease for job in taken] == [2] * len(taken)


async def test_who_lost_the_lease_moves_no_cursor_and_writes_no_result(
    poller_settings: PollerSettings, ecl_database: FreshDatabase
) -> None:
    async with standing(poller_settings, 1, 0) as station, two_stores(poller_settings) as (one, two):
        later = station.now_ms + HOUR_MS
        (job,) = await one.claim(later, 1)
        time_passes(ecl_database, LEASE_SECONDS)
        (taken,) = await two.claim(later, 1)
        progress = DeviceProgress(
            device="d",
            cursors={"1": Cursor(later, later)},
            gaps=[],
            window=(NOON_MS, later),
            holds={},
            trusted=(),
            problem=None,
        )
        with pytest.raises(ControllerLeaseLostError):
            await one.advance(job, progress, later)
        await one.finish(job, poll_result.succeeded(job, later))
        assert (await station.state(job.serial))["state"] == "new"
        await two.advance(taken, progress, later)
        await two.finish(taken, poll_result.succeeded(taken, later))
        assert (await station.state(job.serial))["state"] == "polled"
