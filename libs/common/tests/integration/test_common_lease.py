"""A lease has one holder at a time, by the clock of the database."""

from collections.abc import AsyncIterator

import pytest

from metering_common.postgres import pool as postgres
from metering_common.postgres.lease import Lease, LeaseLostError
from metering_common.postgres.pool import TimedPool
from metering_common.service.clock import ManualClock
from metering_local.testing import FreshDatabase

TABLE = "CREATE TABLE lease (name text PRIMARY KEY, holder uuid NOT NULL, expires_at timestamptz NOT NULL)"
EXPIRED = "UPDATE lease SET expires_at = clock_timestamp() - interval '1 ms'"


@pytest.fixture
async def pool(database: FreshDatabase) -> AsyncIterator[TimedPool]:
    async with postgres.pool(database.owner_dsn, application_name="test") as opened:
        await opened.execute(TABLE)
        yield opened


def lease(pool: TimedPool, clock: ManualClock, name: str = "work") -> Lease:
    return Lease(pool, name, seconds=60, renew_seconds=20, monotonic=clock.monotonic)


async def test_one_holds_it_until_its_time_is_over_or_it_is_given_back(pool: TimedPool) -> None:
    clock = ManualClock(0)
    first, second = lease(pool, clock), lease(pool, clock)
    assert await first.take()
    assert await first.take()
    assert not await second.take()
    assert await lease(pool, clock, "other work").take()
    await second.give_back()  # not its own: nothing happens
    assert not await second.take()
    await first.give_back()
    assert await second.take()
    assert not await first.take()
    await pool.execute(EXPIRED)
    assert await first.take()


async def test_it_is_renewed_when_that_is_due_and_a_loss_is_noticed_then(pool: TimedPool) -> None:
    clock = ManualClock(0)
    first, second = lease(pool, clock), lease(pool, clock)
    assert await first.take()
    assert not await first.keep()
    clock.advance(20)
    assert await first.keep()
    await pool.execute(EXPIRED)
    assert await second.take()
    assert not await first.keep()
    clock.advance(20)
    with pytest.raises(LeaseLostError):
        await first.keep()


async def test_only_the_holder_may_commit(pool: TimedPool) -> None:
    clock = ManualClock(0)
    first, second = lease(pool, clock), lease(pool, clock)
    assert await first.take()
    async with pool.acquire() as connection:
        async with connection.transaction():
            await first.hold(connection)
        async with connection.transaction():
            with pytest.raises(LeaseLostError):
                await second.hold(connection)
        await pool.execute(EXPIRED)
        async with connection.transaction():
            with pytest.raises(LeaseLostError):
                await first.hold(connection)
