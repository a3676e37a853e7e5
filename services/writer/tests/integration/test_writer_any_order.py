"""Nothing rests on order or place: random partitions, reordered, two writers on one device, every tenth entry again."""

import asyncio
import random
from collections.abc import Callable, Sequence

import asyncpg
import pytest

from metering_common.contract.messages import Validated
from metering_common.contract.metadata import EntryMetadata
from metering_common.contract.topics import VALIDATED
from metering_common.postgres.pool import TimedPool
from metering_common.service.clock import SystemClock
from metering_writer.adapters.store import MOST_RACES, PostgresStore
from metering_writer.application import StoredBatch, Writing
from metering_writer.domain.entries import ValidatedEntry
from metering_writer.queries import sql
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, envelope, metadata, rows, validated

PARTITIONS = 6
DEVICES = 3
SENSORS = ((3, 6), (6, 9), (3, 9, 12))
Contents = list[tuple[EntryMetadata, Validated]]
Key = tuple[int, int, int]


def some_contents(chance: random.Random, count: int) -> Contents:
    """Few devices and times, so that all meet; revs that are equal for many, as a portal's answer has them."""
    contents: Contents = []
    for _ in range(count):
        sensors = chance.choice(SENSORS)
        first = MEASURED_AT + 60 * chance.randrange(40)
        times = [first + 60 * number for number in range(chance.randrange(1, 5))]
        size = len(sensors) * len(times)
        values = [float(chance.randrange(3)) for _ in range(size)]
        quality = [chance.choice((0, 0, 1)) for _ in range(size)]
        received = RECEIVED_AT_MS + chance.randrange(50)
        about = metadata(device=chance.randrange(DEVICES), received_at_ms=received, rev=received << 20)
        contents.append((about, validated(rows(sensors, times, values, quality))))
    again = [(metadata(one.device_id, one.received_at_ms, rev=one.rev + 1), content) for one, content in contents[::10]]
    return contents + again


def expected(contents: Contents) -> dict[Key, tuple[int, int, float]]:
    """Of each key the greatest of (rev, better quality, value)."""
    best: dict[Key, tuple[int, int, float]] = {}
    for about, content in contents:
        for block in content.rows:
            for place, value in enumerate(block.values):
                at, sensor = divmod(place, len(block.sensors))
                key = about.device_id, block.timestamps[at], block.sensors[sensor]
                version = about.rev, -block.quality[place], value
                best[key] = max(best.get(key, version), version)
    return best


def spread(chance: random.Random, contents: Contents) -> list[list[ValidatedEntry]]:
    """Shuffled into envelopes of one to five entries, each on any partition; per partition, in the order of offsets."""
    shuffled = chance.sample(contents, len(contents))
    partitions: list[list[ValidatedEntry]] = [[] for _ in range(PARTITIONS)]
    offsets = [0] * PARTITIONS
    while shuffled:
        size, number = chance.randrange(1, 6), chance.randrange(PARTITIONS)
        partitions[number] += envelope(*shuffled[:size], offset=offsets[number], partition=number)
        offsets[number] += 1
        del shuffled[:size]
    return partitions


class Notes:
    """Keeps what was stored, and how often the database refused a whole batch: nothing else may happen."""

    def __init__(self) -> None:
        self.batches: list[StoredBatch] = []
        self.failures: list[Exception] = []

    def stored(self, batch: StoredBatch, seconds: float) -> None:
        assert seconds >= 0
        self.batches.append(batch)

    def database_failed(self, error: Exception) -> None:
        self.failures.append(error)

    def died(self, entry: ValidatedEntry) -> None:
        raise AssertionError(entry)


class NoLetters:
    async def send(self, entries: Sequence[ValidatedEntry]) -> None:
        raise AssertionError(entries)


async def write(store: PostgresStore, partitions: Sequence[list[ValidatedEntry]], size: int) -> Notes:
    """One writer's partitions, batch by batch, as the service does it; a batch may end within an envelope."""
    entries, notes = [list(one) for one in partitions], Notes()
    writing = Writing(store, NoLetters(), notes, SystemClock(), asyncio.sleep)
    while any(entries):
        await writing.write([entry for one in entries for entry in one[:size]])
        for one in entries:
            del one[:size]
    return notes


@pytest.mark.parametrize("seed", range(3))
async def test_two_writers_end_on_the_same_rows_in_whatever_order_they_work(
    pool: TimedPool, new_store: Callable[..., PostgresStore], seed: int
) -> None:
    chance = random.Random(seed)
    contents = some_contents(chance, 300)
    partitions = spread(chance, contents)
    for number in range(PARTITIONS):
        await pool.execute(sql.add_offset, VALIDATED, number, 0)
    stores = [new_store(lock_wait_seconds=30, owns=lambda _: True) for _ in range(2)]
    async with asyncio.timeout(300):
        of_each = await asyncio.gather(
            write(stores[0], partitions[::2], size=7), write(stores[1], partitions[1::2], size=11)
        )
    batches = [batch for of_one in of_each for batch in of_one.batches]
    failures = [error for of_one in of_each for error in of_one.failures]
    assert {type(error) for error in failures} <= {asyncpg.SerializationError, asyncpg.DeadlockDetectedError}
    races = sum(batch.races for batch in batches) + (MOST_RACES + 1) * len(failures)
    print(f"seed {seed}: {races / len(batches):.2f} races per batch of {len(batches)}")  # noqa: T201  it is asked for
    found = await pool.fetch(
        "SELECT device_id, extract(epoch FROM ts)::bigint AS ts, sensor_id, rev, -quality AS quality, value"
        " FROM measurement"
    )
    stored = {(row[0], row[1], row[2]): (row["rev"], row["quality"], row["value"]) for row in found}
    assert stored == expected(contents)
    sums = await pool.fetchrow(
        "SELECT count(*) AS entries, sum(accepted - written - corrected - present - superseded) AS open,"
        " sum(written) AS written FROM ingest_batch"
    )
    assert sums is not None
    assert tuple(sums) == (len(contents), 0, len(stored))
    ends = {row["partition"]: row["next_offset"] for row in await pool.fetch("SELECT * FROM consumer_offset")}
    assert ends == {number: one[-1].offset + 1 for number, one in enumerate(partitions)}


async def test_a_batch_that_ends_within_an_envelope_moves_no_offset_and_comes_again_as_no_op(
    pool: TimedPool, new_store: Callable[..., PostgresStore]
) -> None:
    """As bisection leaves it when the process dies between the halves: the whole envelope is read again."""
    await pool.execute(sql.add_offset, VALIDATED, 0, 0)
    store = new_store(lock_wait_seconds=1, owns=lambda _: True)
    whole = envelope(*[(metadata(device), validated(rows())) for device in range(4)])
    first = await store.store(whole[:2])
    assert (len(first.entries), await pool.fetchval("SELECT next_offset FROM consumer_offset")) == (2, 0)
    again = await store.store(whole)
    assert (len(again.entries), again.redelivered) == (2, 2)
    assert await pool.fetchval("SELECT next_offset FROM consumer_offset") == 1
    assert await pool.fetchval("SELECT count(*) FROM ingest_batch") == 4
    assert await pool.fetchval("SELECT sum(written) FROM ingest_batch") == 8
