"""The four ways in which an old value could win over a newer one: each ends on the value received last."""

from collections.abc import Callable

import pytest

from metering_common.contract.messages import Refusal
from metering_common.contract.metadata import RecordPosition
from metering_common.contract.topics import RAW, VALIDATED
from metering_common.postgres.pool import TimedPool
from metering_writer.adapters.store import PostgresStore
from metering_writer.domain.records import Record
from metering_writer.queries import sql
from metering_writer.testing import RECEIVED_AT_MS, headers, record, rows, validated

OLD, NEW = 1.0, 2.0


@pytest.fixture
async def store(pool: TimedPool, new_store: Callable[..., PostgresStore]) -> PostgresStore:
    for partition in range(2):
        await pool.execute(sql.add_offset, VALIDATED, partition, 0)
    return new_store(lock_wait_seconds=1, owns=lambda _: True)


def received(value: float, later_ms: int, offset: int, partition: int = 0) -> Record:
    return record(
        headers(received_at_ms=RECEIVED_AT_MS + later_ms), validated(rows((3,), values=[value])), offset, partition
    )


async def stands(pool: TimedPool) -> list[float]:
    return [row["value"] for row in await pool.fetch("SELECT value FROM measurement")]


async def test_a_send_that_lands_late(store: PostgresStore, pool: TimedPool) -> None:
    """ingest-api answered 503, the gateway sent a correction, and then the first one arrived after all."""
    await store.store([received(NEW, 1_000, 0)])
    await store.store([received(OLD, 0, 1)])
    assert await stands(pool) == [NEW]


async def test_a_validator_that_woke_up(store: PostgresStore, pool: TimedPool) -> None:
    """It validates again what another one validated while it slept: the result is there already, in whatever batch."""
    first = received(OLD, 0, 0)
    await store.store([first])
    await store.store([received(NEW, 1_000, 1)])
    woken = record(first.headers, validated(rows((3, 6), values=[OLD, OLD])), 2)
    batch = await store.store([woken])
    assert (batch.redelivered, await stands(pool)) == (1, [NEW])


async def test_a_replay(store: PostgresStore, pool: TimedPool) -> None:
    """The replay of the first record carries its received-at and rev: what replaced it stays."""
    refusal = Refusal(rule="RV-03", name="Frecuencia", count=1)
    first = record(headers(), validated(rows((3,), values=[OLD]), refusals=[refusal]), 0)
    await store.store([first])
    await store.store([received(NEW, 1_000, 1)])
    again = headers(replays=RecordPosition(RAW, 0, 0), rev=first.headers.rev)
    await store.store([record(again, validated(rows((3,), values=[OLD])), 2)])
    assert await stands(pool) == [NEW]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_more_partitions(store: PostgresStore, pool: TimedPool, order: tuple[int, int]) -> None:
    """Before and after the change the device's records are in different partitions, read in any order."""
    both = [received(OLD, 0, 0, partition=0), received(NEW, 1_000, 0, partition=1)]
    for place in order:
        await store.store([both[place]])
    assert await stands(pool) == [NEW]


async def test_within_one_batch_in_the_wrong_order(store: PostgresStore, pool: TimedPool) -> None:
    await store.store([received(NEW, 1_000, 0), received(OLD, 0, 1)])
    assert await stands(pool) == [NEW]
