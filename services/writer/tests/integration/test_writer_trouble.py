"""A database that is slow, full, gone or read-only is waited for: nothing is skipped, nothing dies, nothing moves."""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import psutil
import pytest

from metering_common.postgres import pool as postgres
from metering_common.service.retry import RetryPolicy
from metering_common.service.settings import KafkaSettings
from metering_local.postgres import PostgresServer
from metering_local.testing import FreshDatabase, make_database
from metering_writer.domain.records import Record
from metering_writer.settings import WriterSettings
from metering_writer.testing import MEASURED_AT, BatchValidator, Outside, headers, record, rows, running, validated
from metering_writer.testing_flavours import KEEP_EVERYTHING, migrate

FULL_BYTES = 16 * 1024 * 1024
ROWS_BEFORE = 250_000
BASE_PYTHON = shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable  # one that any user may run


def some_records(count: int, first: int = 0, measures: int = 1) -> list[Record]:
    """Two values a measure."""
    return [
        record(
            headers(),
            validated(rows(timestamps=range(MEASURED_AT + number * 6_000, MEASURED_AT + number * 6_000 + measures))),
            number,
        )
        for number in range(first, first + count)
    ]


@pytest.fixture
def hurt(own_postgres: PostgresServer) -> FreshDatabase:
    """A database on a server of its own."""
    database = make_database(own_postgres)
    migrate(database.owner_dsn)
    database.sql(KEEP_EVERYTHING)
    return database


@pytest.fixture
def settings(hurt: FreshDatabase, kafka: KafkaSettings, unused_tcp_port: int) -> WriterSettings:
    return WriterSettings(
        database_url=hurt.dsn_for("storage_writer"),
        admin_host="127.0.0.1",
        admin_port=unused_tcp_port,
        kafka=kafka,
        batch_seconds=0.05,
        session_timeout_seconds=6,
        statement_timeout_seconds=1,
        lock_wait_seconds=0.5,
    )


@asynccontextmanager
async def watched(hurt: FreshDatabase, settings: WriterSettings) -> AsyncIterator[Outside]:
    """A pool that is opened only while the server is well."""
    async with postgres.pool(hurt.dsn_for("storage_reader"), application_name="watch", retry=RetryPolicy(60)) as pool:
        yield Outside(pool, settings)


async def went_on(outside: Outside, records: int, values: int) -> None:
    """Complete, single, without a dead letter, in the same hands all the time."""
    await outside.stored(records)
    await outside.ready()
    assert await outside.count() == values
    metrics = await outside.metrics()
    assert metrics["metering_writer_dead_records_total"] == 0
    assert metrics["metering_writer_assignments_total"] == 1
    assert metrics["metering_writer_partitions"] == 12


async def test_a_database_that_is_gone_is_waited_for(
    settings: WriterSettings, validate: BatchValidator, hurt: FreshDatabase
) -> None:
    async with running(settings):
        async with watched(hurt, settings) as outside:
            await validate.send(*some_records(3))
            await outside.stored(3)
        hurt.server.kill()
        await validate.send(*some_records(4, first=3))
        assert await outside.unready("database")
        metrics = await outside.metrics()
        assert metrics["metering_writer_database_down"] == 1
        assert metrics["metering_writer_lag_seconds"] > 0
        hurt.server.restart()
        async with watched(hurt, settings) as outside:
            await went_on(outside, 7, 14)


async def test_a_database_that_stands_still_is_waited_for(
    settings: WriterSettings, validate: BatchValidator, hurt: FreshDatabase
) -> None:
    async with running(settings), watched(hurt, settings) as outside:
        await validate.send(*some_records(1))
        await outside.stored(1)
        hurt.server.pause()
        await validate.send(*some_records(4, first=1))
        await asyncio.sleep(3)
        hurt.server.resume()
        await went_on(outside, 5, 10)


async def test_statements_that_time_out_are_run_again(
    settings: WriterSettings, validate: BatchValidator, hurt: FreshDatabase
) -> None:
    async with (
        running(settings),
        watched(hurt, settings) as outside,
        postgres.pool(hurt.owner_dsn, application_name="owner") as owner,
    ):
        async with owner.acquire() as session, session.transaction():
            await session.execute("LOCK TABLE rejected_measure, measurement IN SHARE MODE")
            await validate.send(*some_records(4))
            assert await outside.unready("database")
        await went_on(outside, 4, 8)


async def test_a_read_only_database_is_waited_for(
    settings: WriterSettings, validate: BatchValidator, hurt: FreshDatabase
) -> None:
    async with running(settings), watched(hurt, settings) as outside:
        await validate.send(*some_records(1))
        await outside.stored(1)
        _read_only(hurt, setting="on")
        await validate.send(*some_records(4, first=1))
        assert "read-only" in await outside.unready("database")
        assert (await outside.metrics())['metering_writer_database_failures_total{sqlstate="25006"}'] > 0
        _read_only(hurt, setting="off")
        await went_on(outside, 5, 10)


def _read_only(hurt: FreshDatabase, setting: str) -> None:
    """As a standby behind the same name is; sessions of the writer begin again."""
    hurt.sql(
        f"BEGIN READ WRITE; ALTER DATABASE {hurt.name} SET default_transaction_read_only = {setting}; COMMIT;"
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'storage_writer';"
    )


@pytest.fixture
def full(hurt: FreshDatabase) -> Iterator[PostgresServer]:
    """No file may grow beyond 16 MiB, the size of one of WAL, and `measurement` has almost that."""
    hurt.sql(
        "INSERT INTO measurement (ts, value, rev, device_id, sensor_id, quality) SELECT to_timestamp(n), 0, 0, 1, 1, 0"
        f" FROM generate_series(1, {ROWS_BEFORE}) AS n;"
    )
    _limit_files(hurt.server, FULL_BYTES)
    yield hurt.server
    _limit_files(hurt.server, resource.RLIM_INFINITY)


def _limit_files(server: PostgresServer, size: int) -> None:
    """As the server's own user, since one may not limit another's processes; what they start inherits it."""
    assert server.pid is not None
    top = psutil.Process(server.pid)
    for process in (top, *top.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a worker that has just ended
            user, group = (process.uids().real, process.gids().real) if os.geteuid() == 0 else (None, None)
            script = f"import resource as r; r.prlimit({process.pid}, r.RLIMIT_FSIZE, ({size}, r.RLIM_INFINITY))"
            done = subprocess.run([BASE_PYTHON, "-c", script], user=user, group=group, check=False, env={}, cwd="/")
            assert done.returncode == 0 or not process.is_running()


async def test_a_full_database_is_waited_for(
    settings: WriterSettings, validate: BatchValidator, hurt: FreshDatabase, full: PostgresServer
) -> None:
    """60,000 rows more do not fit: no record is at fault, whatever the SQLSTATE."""
    async with running(settings), watched(hurt, settings) as outside:
        await validate.send(*some_records(30, measures=1_000))
        assert "File too large" in await outside.unready("database")
        await asyncio.sleep(1)
        _limit_files(full, resource.RLIM_INFINITY)
        await went_on(outside, 30, ROWS_BEFORE + 60_000)
