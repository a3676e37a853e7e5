"""The pool against a real server: nothing waits for ever, not for a connection, a lock, a statement or the end."""

import asyncio
import time

import asyncpg
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from metering_common.postgres import pool as postgres
from metering_common.service.metrics import PoolMetrics
from metering_common.service.retry import RetryPolicy
from metering_local.postgres import PostgresServer
from metering_local.testing import FreshDatabase, make_database


async def test_a_connection_says_who_it_is_and_has_its_limits(database: FreshDatabase) -> None:
    async with postgres.pool(database.owner_dsn, application_name="writer", statement_timeout_seconds=7) as pool:
        shown = [
            await pool.fetchval(f"SHOW {name}") for name in ("application_name", "statement_timeout", "lock_timeout")
        ]
    assert shown == ["writer", "7s", "5s"]


async def test_a_pool_in_use_is_not_waited_for_for_ever(database: FreshDatabase) -> None:
    async with (
        postgres.pool(database.owner_dsn, application_name="t", max_size=1, acquire_timeout_seconds=0.2) as pool,
        pool.acquire(),
    ):
        with pytest.raises(TimeoutError):
            await pool.fetchval("SELECT 1")


async def test_connections_at_work_are_shown_beside_their_limit(database: FreshDatabase) -> None:
    collectors = CollectorRegistry()

    def shown(name: str) -> float | None:
        return collectors.get_sample_value(f"metering_database_pool_{name}_connections", {"pool": "t"})

    async with postgres.pool(
        database.owner_dsn, application_name="t", max_size=3, metrics=PoolMetrics(collectors)
    ) as pool:
        assert (shown("in_use"), shown("max")) == (0, 3)
        async with pool.acquire(), pool.acquire():
            assert shown("in_use") == 2


async def test_a_lock_is_not_waited_for_for_ever(database: FreshDatabase) -> None:
    async with postgres.pool(database.owner_dsn, application_name="t", lock_timeout_seconds=0.2) as pool:
        await pool.execute("CREATE TABLE t (a int)")
        async with pool.acquire() as one, one.transaction(), pool.acquire() as other:
            await one.execute("LOCK TABLE t")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await other.execute("ALTER TABLE t ADD COLUMN b int")


async def test_a_statement_is_not_waited_for_for_ever(database: FreshDatabase) -> None:
    async with postgres.pool(database.owner_dsn, application_name="t", statement_timeout_seconds=0.2) as pool:
        with pytest.raises(asyncpg.QueryCanceledError):
            await pool.execute("SELECT pg_sleep(60)")


async def test_the_end_does_not_wait_for_ever_for_what_is_in_use(database: FreshDatabase) -> None:
    async with postgres.pool(database.owner_dsn, application_name="t", close_timeout_seconds=0.2) as pool:
        await pool.acquire()
        started = time.monotonic()
    assert time.monotonic() - started < 2


async def test_a_server_that_is_away_is_told_after_some_retry(own_postgres: PostgresServer) -> None:
    dsn = make_database(own_postgres).owner_dsn
    own_postgres.kill()
    with pytest.raises(OSError, match="Connect call failed"):
        async with postgres.pool(dsn, application_name="t", retry=RetryPolicy(0.1)):
            pass
    coming_back = asyncio.create_task(asyncio.to_thread(own_postgres.restart))
    async with postgres.pool(dsn, application_name="t") as pool:
        assert await pool.fetchval("SELECT 1") == 1
    await coming_back


async def test_a_wrong_password_is_not_waited_for_and_not_shown(database: FreshDatabase) -> None:
    wrong = SecretStr(database.owner_dsn.get_secret_value().replace("@", "wrong@"))
    with pytest.raises(asyncpg.InvalidPasswordError) as refusal:
        async with postgres.pool(wrong, application_name="t", retry=RetryPolicy(30)):
            pass
    assert "wrong" not in str(refusal.value)


async def test_a_task_that_is_cancelled_in_its_transaction_leaves_none_behind(database: FreshDatabase) -> None:
    async with postgres.pool(database.owner_dsn, application_name="t", max_size=1) as pool:
        await pool.execute("CREATE TABLE t (a int)")

        async def insert_and_sleep() -> None:
            async with pool.acquire() as session, session.transaction():
                await session.execute("INSERT INTO t VALUES (1)")
                await session.execute("SELECT pg_sleep(60)")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(insert_and_sleep(), 0.5)
        assert await pool.fetchval("SELECT count(*) FROM t") == 0
