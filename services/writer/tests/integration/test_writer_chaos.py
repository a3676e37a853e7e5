"""Any writer may die, sleep, be doubled or come late, and PostgreSQL too: every count is exact in the end.

What they do: validated records go to four partitions, some of them corrections and resends, while writers as processes
are killed, stopped and woken in an order that a seed decides. How they prove it: by counting in SQL against what was
sent, value by value.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_common.service.retry import RetryPolicy
from metering_common.service.settings import KafkaSettings
from metering_local.postgres import PostgresServer
from metering_local.testing import FreshDatabase, make_database
from metering_writer.domain.records import Record
from metering_writer.settings import WriterSettings
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, BatchValidator, headers, record, rows, until, validated
from metering_writer.testing_flavours import KEEP_EVERYTHING, migrate
from metering_writer.testing_processes import WriterProcess, writer_processes

PARTITIONS = 4
SENSORS = tuple(range(1, 11))
SECONDS = 180
UNKEPT = """
    SELECT b.batch_id, b.corrected + b.superseded AS gave_way, count(c.batch_id) AS kept
    FROM ingest_batch AS b LEFT JOIN measurement_correction AS c ON c.batch_id = b.batch_id AND c.item = b.item
    GROUP BY b.batch_id, b.item, b.corrected, b.superseded HAVING count(c.batch_id) <> b.corrected + b.superseded
"""
"""Records of which not every value that gave way is kept, or one of them twice."""
Expected = dict[tuple[int, int, int], float]


@pytest.fixture
def hurt(own_postgres: PostgresServer) -> FreshDatabase:
    """A database on a server of its own."""
    database = make_database(own_postgres)
    migrate(database.owner_dsn)
    database.sql(KEEP_EVERYTHING)
    return database


@pytest.fixture
def settings(hurt: FreshDatabase, kafka: KafkaSettings) -> WriterSettings:
    return WriterSettings(
        database_url=hurt.dsn_for("storage_writer"),
        admin_host="127.0.0.1",
        admin_port=0,
        kafka=kafka,
        batch_seconds=0.05,
        session_timeout_seconds=6,
        lock_wait_seconds=1,
        drain_seconds=10,
    )


class Traffic:
    """Validated records with every kind of repetition, and what must stand in the end."""

    def __init__(self, seed: int, validate: BatchValidator, minutes: int = 200) -> None:
        """All measures lie within so many minutes: the fewer, the more repetitions."""
        self._chance = random.Random(seed)
        self._minutes = minutes
        self._validate = validate
        self._offsets = [0] * PARTITIONS
        self._received = RECEIVED_AT_MS
        self._best: dict[tuple[int, int, int], tuple[int, float]] = {}
        self.records = 0

    async def send(self, count: int, measures: int = 5) -> None:
        await self._validate.send(*(self._next(measures) for _ in range(count)))

    @property
    def expected(self) -> Expected:
        return {key: value for key, (_, value) in self._best.items()}

    def _next(self, measures: int) -> Record:
        """Received at a time of its own, not always later than the one before."""
        partition = self._chance.randrange(PARTITIONS)
        self.records += 1
        received = self._received + self.records + self._chance.choice((0, 0, 0, -40_000, 40_000))
        about = headers(device=partition, received_at_ms=received)
        first = MEASURED_AT + 60 * self._chance.randrange(self._minutes)
        times = [first + 60 * number for number in range(measures)]
        values = [float(self._chance.randrange(3)) for _ in range(measures * len(SENSORS))]
        for place, value in enumerate(values):
            key = (partition, times[place // len(SENSORS)], SENSORS[place % len(SENSORS)])
            self._best[key] = max(self._best.get(key, (-1, 0.0)), (about.rev, value))
        one = record(about, validated(rows(SENSORS, times, values)), self._offsets[partition], partition)
        self._offsets[partition] += 1
        return one


@asynccontextmanager
async def watching(hurt: FreshDatabase) -> AsyncIterator[TimedPool]:
    async with postgres.pool(hurt.dsn_for("storage_reader"), application_name="watch", retry=RetryPolicy(60)) as pool:
        yield pool


async def exact(pool: TimedPool, traffic: Traffic) -> None:
    """Waits for the last record, then counts everything."""

    async def complete() -> bool:
        return int(await pool.fetchval("SELECT count(*) FROM ingest_batch")) >= traffic.records

    await until(complete, SECONDS)
    found = await pool.fetch("SELECT device_id, extract(epoch FROM ts)::int, sensor_id, value FROM measurement")
    assert {(device, ts, sensor): value for device, ts, sensor, value in found} == traffic.expected
    counts = await pool.fetchrow(
        "SELECT count(*) AS records, sum(accepted) AS accepted, sum(written) AS written,"
        " sum(accepted - written - corrected - present - superseded) AS missing FROM ingest_batch"
    )
    assert counts is not None
    assert (counts["records"], counts["missing"]) == (traffic.records, 0)
    assert counts["written"] == len(traffic.expected)
    assert await pool.fetch(UNKEPT) == []
    assert await pool.fetchval("SELECT sum(next_offset) FROM consumer_offset") == traffic.records


async def kill_at_random(hurt: FreshDatabase, writers: list[WriterProcess], traffic: Traffic, seed: int) -> None:
    """Three rounds: something dies while records come in, and comes back."""
    chance = random.Random(seed)
    for _ in range(3):
        await asyncio.gather(*(writer.started() for writer in writers))
        await traffic.send(40)
        await asyncio.sleep(chance.uniform(0, 1.5))
        if chance.random() < 0.3:
            await asyncio.to_thread(hurt.server.kill)
            await asyncio.to_thread(hurt.server.restart)
        else:
            victim = chance.choice(writers)
            victim.kill()
            await asyncio.sleep(chance.uniform(0, 0.5))
            victim.start()


async def killed_and_exact(
    hurt: FreshDatabase, settings: WriterSettings, validate: BatchValidator, folder: Path, seed: int
) -> None:
    with writer_processes(settings, folder, 2) as writers:
        for writer in writers:
            writer.start()
        traffic = Traffic(seed, validate)
        await kill_at_random(hurt, writers, traffic, seed)
        async with watching(hurt) as pool:
            await exact(pool, traffic)


@pytest.mark.parametrize("seed", [1, 4])
async def test_killed_at_random_moments_nothing_is_lost_and_nothing_double(
    hurt: FreshDatabase, settings: WriterSettings, validate: BatchValidator, tmp_path: Path, seed: int
) -> None:
    await killed_and_exact(hurt, settings, validate, tmp_path, seed)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(100, 150))
async def test_killed_fifty_times(
    hurt: FreshDatabase, settings: WriterSettings, validate: BatchValidator, tmp_path: Path, seed: int
) -> None:
    await killed_and_exact(hurt, settings, validate, tmp_path, seed)


async def test_three_writers_join_and_leave(
    hurt: FreshDatabase, settings: WriterSettings, validate: BatchValidator, tmp_path: Path
) -> None:
    traffic = Traffic(3, validate)
    with writer_processes(settings, tmp_path, 3) as writers:
        for writer in writers:
            writer.start()
            await writer.started()
            await traffic.send(30)
        for writer in writers[:2]:
            await traffic.send(30)
            assert await asyncio.to_thread(writer.terminate) == 0
        await traffic.send(30)
        async with watching(hurt) as pool:
            await exact(pool, traffic)


async def test_stopped_in_mid_copy_past_its_session_and_woken(
    hurt: FreshDatabase, settings: WriterSettings, validate: BatchValidator, tmp_path: Path
) -> None:
    """The sleeper holds the lock of its partitions' offsets; the new owner ends its session and goes on."""
    traffic = Traffic(5, validate, minutes=1_000_000)
    await traffic.send(300, measures=50)
    hurt.sql(SLOW_START)
    with writer_processes(settings.model_copy(update={"batch_seconds": 1}), tmp_path, 2) as (sleeper, other):
        async with watching(hurt) as pool:
            sleeper.start()
            await stop_in_mid_copy(hurt, sleeper)
            other.start()
            await exact(pool, traffic)
            assert "offsets.blocking_session_ended" in other.log()
            sleeper.wake()
            await traffic.send(40)
            await exact(pool, traffic)
            assert sleeper.terminate() == 0


SLOW_START = """
    CREATE FUNCTION wait_a_moment() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
    CREATE TRIGGER slow_start BEFORE INSERT ON measurement EXECUTE FUNCTION wait_a_moment();
    GRANT pg_read_all_stats TO test_owner;
"""
"""Each COPY begins with half a second in which the process can be stopped; far from all its bytes are sent by then."""


async def stop_in_mid_copy(hurt: FreshDatabase, writer: WriterProcess) -> None:
    """Returns when the process is stopped and the database waits for the rest of its bytes."""
    copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY \"measurement\"%' AND state = 'active'"
    async with postgres.pool(hurt.owner_dsn, application_name="observer") as pool:

        async def has_begun() -> bool:
            return bool(await pool.fetchval(f"{copying} AND wait_event = 'PgSleep'"))

        async def waits_for_bytes() -> bool:
            return bool(await pool.fetchval(f"{copying} AND wait_event = 'ClientRead'"))

        await until(has_begun, SECONDS)
        writer.stop()
        await until(waits_for_bytes, SECONDS)
