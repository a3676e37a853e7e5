"""Nothing measured is forgotten: what gave way is kept, and every earlier state can be read again.

How it is proved: whatever the order in which values come, resent, late, doubled in one batch, the table is read after
every transaction, and `measurement_as_of` must show that very state later. The model in between knows one rule only: of
two values for one key the one received later stands.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering_common.contract.topics import VALIDATED
from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_local.testing import FreshDatabase
from metering_writer.adapters.store import PostgresStore
from metering_writer.domain.records import Record
from metering_writer.queries import sql
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, headers, record, rows, validated

SENSORS = (3, 6)
Key = tuple[int, int]
Values = dict[Key, tuple[float, int]]


class Received(NamedTuple):
    """A record as a history has it: one measure of both sensors."""

    received: int
    """Milliseconds after the first one; not two of a history are alike."""
    measured: int
    values: tuple[float, ...]
    quality: tuple[int, ...]

    def as_record(self, device: int, offset: int, partition: int = 0) -> Record:
        about = headers(device, RECEIVED_AT_MS + self.received, batch_id=uuid4())  # Hypothesis repeats other randomness
        block = rows(SENSORS, (MEASURED_AT + self.measured,), self.values, self.quality)
        return record(about, validated(block), offset, partition)

    def entries(self) -> dict[Key, tuple[float, int]]:
        pairs = zip(self.values, self.quality, strict=True)
        return {(self.measured, sensor): pair for sensor, pair in zip(SENSORS, pairs, strict=True)}


RECEIVED = st.builds(
    Received,
    st.integers(0, 60_000),
    st.sampled_from([0, 60]),
    st.tuples(*[st.sampled_from([1.0, 2.0, 3.0])] * len(SENSORS)),
    st.tuples(*[st.sampled_from([0, 0, 0, 3])] * len(SENSORS)),
)
HISTORIES = st.lists(st.lists(RECEIVED, min_size=1, max_size=4), min_size=1, max_size=6).filter(
    lambda batches: _all_different([one.received for batch in batches for one in batch])
)


def _all_different(numbers: Sequence[int]) -> bool:
    return len(set(numbers)) == len(numbers)


class World:
    """A store on a database of its own, driven from synchronous tests."""

    def __init__(self, runner: asyncio.Runner, pool: TimedPool) -> None:
        self._runner, self._pool = runner, pool
        self._store = PostgresStore(pool, 1, lambda _: True, hypertables=False)
        self._offset = self._device = 0

    def new_device(self) -> int:
        self._device += 1
        return self._device

    def store(self, device: int, batch: Sequence[Received]) -> None:
        placed = [one.as_record(device, self._offset + place) for place, one in enumerate(batch)]
        self._runner.run(self._store.store(placed))
        self._offset += len(batch)

    def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        return list(self._runner.run(self._pool.fetch(query, *arguments)))

    def now(self) -> datetime:
        (row,) = self.fetch("SELECT clock_timestamp() AS now")
        moment: datetime = row["now"]
        return moment

    def state(self, device: int) -> Values:
        return _values(self.fetch(f"SELECT {KEY}, value, quality FROM measurement WHERE device_id = $1", device))

    def as_of(self, device: int, instant: datetime) -> Values:
        query = f"SELECT {KEY_AS_OF}, value, quality FROM measurement_as_of($2) WHERE device_id = $1"
        return _values(self.fetch(query, device, instant))

    def replaced(self, device: int) -> list[asyncpg.Record]:
        query = f"SELECT {KEY}, * FROM measurement_correction WHERE device_id = $1 ORDER BY corrected_at"
        return self.fetch(query, device)

    def ledger(self, device: int) -> list[asyncpg.Record]:
        return self.fetch("SELECT batch_id, item, corrected, superseded FROM ingest_batch WHERE device_id = $1", device)


KEY = f"extract(epoch FROM ts)::int - {MEASURED_AT} AS measured, sensor_id"
KEY_AS_OF = KEY.replace("ts", "time", 1)


def _values(found: Sequence[asyncpg.Record]) -> Values:
    return {(row["measured"], row["sensor_id"]): (row["value"], row["quality"]) for row in found}


@pytest.fixture(scope="module")
def world(module_storage: FreshDatabase) -> Iterator[World]:
    with asyncio.Runner() as runner:
        opening = postgres.pool(module_storage.dsn_for("storage_writer"), application_name="history", max_size=2)
        pool = runner.run(opening.__aenter__())
        runner.run(pool.execute(sql.add_offset, VALIDATED, 0, 0))
        yield World(runner, pool)
        runner.run(opening.__aexit__(None, None, None))


MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(batches=HISTORIES)
def test_every_state_that_was_can_be_read_again(world: World, batches: list[list[Received]]) -> None:
    device = world.new_device()
    states = []
    for batch in batches:
        world.store(device, batch)
        states.append((world.now(), world.state(device)))
    for instant, state in states:
        shown = world.as_of(device, instant)
        assert {key: shown[key] for key in state} == state
        assert world.as_of(device, world.now()) == states[-1][1]


@MANY
@given(batches=HISTORIES)
def test_whatever_came_stands_or_is_kept_and_the_ledger_counts_it(world: World, batches: list[list[Received]]) -> None:
    device = world.new_device()
    for batch in batches:
        world.store(device, batch)
    standing = world.state(device)
    kept = world.replaced(device)
    came = {(key, pair) for batch in batches for one in batch for key, pair in one.entries().items()}
    old = {((row["measured"], row["sensor_id"]), (row["old_value"], row["old_quality"])) for row in kept}
    assert came == old | set(standing.items())
    for row in world.ledger(device):
        own = [one for one in kept if (one["batch_id"], one["item"]) == (row["batch_id"], row["item"])]
        late = [one for one in own if one["old_rev"] < one["new_rev"] and not one["stood"]]
        assert len(own) == row["corrected"] + row["superseded"]
        assert len(late) >= row["superseded"]


@MANY
@given(batches=HISTORIES)
def test_a_key_first_stands_when_its_first_value_was_received(world: World, batches: list[list[Received]]) -> None:
    """Also when equal values have raised its rev since, and whatever an earlier received one brings afterwards."""
    device = world.new_device()
    first: dict[Key, int] = {}
    for batch in batches:
        world.store(device, batch)
        last: dict[Key, int] = {}
        for one in batch:
            for key in one.entries():
                last[key] = max(last.get(key, 0), one.received)
        first = last | first
    rows_ = world.fetch(
        f"SELECT {KEY}, coalesce(first_rev, rev) >> 20 AS ms FROM measurement WHERE device_id = $1", device
    )
    assert {(row["measured"], row["sensor_id"]): row["ms"] - RECEIVED_AT_MS for row in rows_} == first
    for key, received in first.items():
        before, at = (datetime.fromtimestamp((RECEIVED_AT_MS + received + ms) / 1_000).astimezone() for ms in (-1, 0))
        assert key not in world.as_of(device, before)
        assert key in world.as_of(device, at)


def test_equal_values_leave_no_trace(world: World) -> None:
    device = world.new_device()
    same = [Received(number, 0, (1.0, 2.0), (0, 3)) for number in (5, 1, 9)]
    for one in same:
        world.store(device, [one])
    assert world.replaced(device) == []


def test_an_older_value_that_comes_late_is_kept_and_never_stood(world: World) -> None:
    device = world.new_device()
    world.store(device, [Received(10, 0, (1.0, 1.0), (0, 0))])
    between = world.now()
    world.store(device, [Received(5, 0, (9.0, 9.0), (0, 0))])
    assert [(row["old_value"], row["new_value"], row["stood"]) for row in world.replaced(device)] == [
        (9.0, 1.0, False)
    ] * 2
    assert {value for value, _ in world.as_of(device, between).values()} == {1.0}
    assert {value for value, _ in world.as_of(device, world.now()).values()} == {1.0}


async def test_two_writers_that_race_for_the_same_keys_keep_each_replaced_value_once(
    pool: TimedPool, new_store: Callable[..., PostgresStore]
) -> None:
    """The chain of what stood has no hole: every old value is the new one of the correction before it."""
    store = new_store(lock_wait_seconds=1, owns=lambda _: True)
    for partition in range(2):
        await pool.execute(sql.add_offset, VALIDATED, partition, 0)

    def version(partition: int, turn: int) -> Record:
        number = 2 * turn + partition
        return Received(number, 0, (float(number), -float(number)), (0, 0)).as_record(29, turn, partition)

    for turn in range(8):
        await asyncio.gather(*(store.store([version(partition, turn)]) for partition in range(2)))
    counted = await pool.fetchval("SELECT sum(corrected + superseded) FROM ingest_batch")
    kept = await pool.fetch("SELECT * FROM measurement_correction ORDER BY sensor_id, corrected_at, old_rev")
    assert len(kept) == counted == 2 * 15
    for sensor in SENSORS:
        stood = [row for row in kept if row["sensor_id"] == sensor and row["stood"]]
        assert all(before["new_rev"] == after["old_rev"] for before, after in itertools.pairwise(stood))
        assert stood[-1]["new_rev"] == await pool.fetchval("SELECT rev FROM measurement WHERE sensor_id = $1", sensor)


async def test_the_writer_may_add_corrections_and_nothing_else(pool: TimedPool) -> None:
    for statement in ("DELETE FROM measurement_correction", "UPDATE measurement_correction SET stood = false"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pool.execute(statement)
