"""The pure parts: columns, keys, versions, offsets, classified errors, and writing with a store of our own."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
import numpy as np
import pytest

from metering_common.contract.messages import Validated, decode_validated, encode_validated
from metering_common.kafka.dead_share import DeadShare, TooManyDeadError
from metering_common.service.clock import ManualClock
from metering_writer.application import DeadLetters, OffsetsBehindError, Store, StoredBatch, Writing
from metering_writer.domain import offsets
from metering_writer.domain.accounts import WriteResult, total
from metering_writer.domain.columns import (
    COPY_ROW,
    Block,
    Values,
    blocks_of,
    copy_block,
    copy_new,
    copy_values,
    values_of,
)
from metering_writer.domain.entries import UnstorableEntryError, ValidatedEntry, check
from metering_writer.domain.error_classification import (
    backoff_seconds,
    could_be_the_entrys_own,
)
from metering_writer.domain.keys import keys_of, ranges_of, repeated_in, split
from metering_writer.domain.ledger_rows import LEDGER_COLUMNS, ledger_rows
from metering_writer.domain.offsets import Log, StopReason, Stored
from metering_writer.domain.versions import Candidates, ExistingRows, decide
from metering_writer.flavour import WrongFlavourError, refuse_old
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, entry, envelope, metadata, rows, validated

pytestmark = pytest.mark.fast
BATCH = UUID("019a0f3c-7d2e-7c41-9b0e-5f6a7c8d9e0f")


def values(*each: tuple[int, float], sensor: int = 3) -> Values:
    """Versions (rev, value) of one key, each of a record of its own."""
    count = len(each)
    column = np.ones(count, np.int64)
    revs = np.array([rev for rev, _ in each])
    filled = np.array([value for _, value in each])
    return Values(column, column, column * sensor, revs, np.arange(count), filled, np.zeros(count, np.int16))


def existing(*each: tuple[int, float], sensor: int = 3) -> ExistingRows:
    revs = np.array([rev for rev, _ in each], np.int64)
    filled = np.array([value for _, value in each], np.float64)
    return ExistingRows(np.full(len(each), sensor), filled, np.zeros(len(each), np.int64), revs)


@pytest.mark.parametrize(
    ("there", "brought", "write_results", "new", "better"),
    [
        ((), [(5, 1.0)], ["written"], [1.0], []),
        ([(4, 1.0)], [(5, 1.0)], ["present"], [], [1.0]),
        ([(4, 1.0)], [(5, 2.0)], ["corrected"], [], [2.0]),
        ([(6, 1.0)], [(5, 2.0)], ["superseded"], [], []),
        ([(5, 1.0)], [(5, 1.0)], ["present"], [], []),
        ([(5, 1.0)], [(5, 2.0)], ["corrected"], [], [2.0]),
        ([(5, 2.0)], [(5, 1.0)], ["superseded"], [], []),
        ((), [(7, 2.0), (5, 1.0)], ["corrected", "written"], [2.0], []),
        ((), [(5, 1.0), (5, 2.0), (6, 1.0)], ["written", "corrected", "corrected"], [1.0], []),
        ((), [(5, 2.0), (5, 1.0)], ["corrected", "written"], [2.0], []),
        ([(6, 9.0)], [(5, 1.0), (7, 9.0), (8, 3.0)], ["superseded", "present", "corrected"], [], [3.0]),
    ],
)
def test_of_two_values_the_one_received_later_stands(
    there: Sequence[tuple[int, float]],
    brought: Sequence[tuple[int, float]],
    write_results: Sequence[str],
    new: Sequence[float],
    better: Sequence[float],
) -> None:
    decided = decide(Candidates.of(values(*brought)), existing(*there), len(brought))
    assert decided.write_results == [WriteResult(**{write_result: 1}) for write_result in write_results]
    assert (decided.new.value.tolist(), decided.better.value.tolist()) == (list(new), list(better))


def test_every_value_has_one_write_result() -> None:
    """Whatever the mixture: counted per record against a store that takes one value after another."""
    chance = np.random.default_rng(7)
    for _ in range(50):
        versions = [(int(rev), float(value)) for rev, value in chance.integers(0, 5, (12, 2))]
        found = [(int(chance.integers(0, 5)), float(chance.integers(0, 5)))] if chance.integers(0, 2) else []
        decided = decide(Candidates.of(values(*versions)), existing(*found), 12)
        kept = found[0] if found else None
        for place in sorted(range(12), key=lambda place: (*versions[place], place)):
            write_result, kept = _one_after_another(kept, versions[place])
            assert decided.write_results[place] == WriteResult(**{write_result: 1})
        written = [*decided.new.value.tolist(), *decided.better.value.tolist()] or [found[0][1]]
        assert written == [kept[1] if kept else None]


def _one_after_another(kept: tuple[int, float] | None, brought: tuple[int, float]) -> tuple[str, tuple[int, float]]:
    if kept is None:
        return "written", brought
    newer = max(kept, brought)
    if kept[1] == brought[1]:
        return "present", newer
    return ("corrected" if kept < brought else "superseded"), newer


def block(*devices: int) -> Block:
    batch = [entry(metadata(device), validated(rows((6, 3), (MEASURED_AT, MEASURED_AT - 60))), 0) for device in devices]
    return blocks_of(batch)[0]


def test_measures_are_sorted_by_device_and_time_and_keep_their_values() -> None:
    sorted_block = block(7, 2)
    assert sorted_block.device.tolist() == [2, 2, 7, 7]
    assert sorted_block.ts.tolist() == [MEASURED_AT - 60, MEASURED_AT] * 2
    assert sorted_block.sensors == (3, 6)
    assert sorted_block.values.tolist() == [[3.0, 2.0], [1.0, 0.0]] * 2
    assert sorted_block.entry.tolist() == [1, 1, 0, 0]


def test_a_row_is_what_binary_copy_wants() -> None:
    row = np.frombuffer(copy_block(block(7)), COPY_ROW)[0]
    assert (row["n"], row["ts_length"], row["device_id_length"], row["quality_length"]) == (6, 8, 4, 2)
    assert (row["device_id"], row["sensor_id"], row["value"]) == (7, 3, 3.0)
    assert row["ts"] == (MEASURED_AT - 60 - 946_684_800) * 1_000_000


def test_blocks_and_single_values_give_the_same_bytes() -> None:
    blocks = [block(7, 2)]
    assert copy_new(blocks, None) == copy_block(blocks[0]) == copy_values(values_of(blocks))


def test_what_is_copied_stands_in_the_order_of_the_key_whatever_it_is_made_of() -> None:
    other = blocks_of([entry(metadata(5), validated(rows((4,), (MEASURED_AT,), [9.0])))])
    single = values_of(blocks_of([entry(metadata(2), validated(rows((1,), (MEASURED_AT + 7,), [8.0])))]))
    found = np.frombuffer(copy_new([block(7, 2), *other], single), COPY_ROW)
    keys = [(int(row["device_id"]), int(row["ts"]), int(row["sensor_id"])) for row in found]
    assert len(keys) == 10
    assert keys == sorted(keys)


def test_quality_that_is_left_out_is_good_also_beside_other_blocks() -> None:
    content = validated(rows((3,), (1,), [1.0]), rows((3,), (2,), [1.0], [3]), rows((3,), (3,), [1.0]))
    (one,) = blocks_of([entry(metadata(), content)])
    assert one.quality.ravel().tolist() == [0, 3, 0]


def test_ranges_repetitions_and_the_split() -> None:
    blocks = [block(7, 2), block(7)]
    keys = keys_of(blocks)
    assert ranges_of(keys) == ([2, 7], [MEASURED_AT - 60] * 2, [MEASURED_AT] * 2)
    assert repeated_in(keys).tolist() == [False, False, True, True, True, True]
    fast, slow = split(blocks, repeated_in(keys))
    assert [one.device.tolist() for one in fast] == [[2, 2]]
    assert [one.device.tolist() for one in slow] == [[7, 7], [7, 7]]


@pytest.mark.parametrize(
    "content",
    [
        validated(rows((3,), (2**60,), [1.0])),
        validated(rows((70_000,), (1,), [1.0])),
        validated(rows((3,), (1,), [1.0], [99_999])),
    ],
)
def test_what_fits_no_column_is_known_before_the_database_is_asked(content: Validated) -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_validated(encode_validated(content))


@pytest.mark.parametrize("content", [validated(rows((3,), (1, 2), [1.0])), validated(rows((3,), (1,), [1.0], [0, 0]))])
def test_what_contradicts_itself_is_known_too(content: Validated) -> None:
    with pytest.raises(UnstorableEntryError):
        check(content)


def test_only_the_last_entry_of_an_envelope_moves_the_offset() -> None:
    """Bisection must not advance past half an envelope."""
    first = envelope(*[(metadata(), validated())] * 3, offset=4)
    second = envelope(*[(metadata(), validated())] * 3, offset=5)
    assert offsets.moved_by(first[:2]) == {}
    assert offsets.moved_by([*first, *second[:2]]) == {0: Stored(5, first[0].envelope.id)}
    assert offsets.moved_by([*first[2:], *second]) == {0: Stored(6, second[0].envelope.id)}
    assert offsets.behind(first[1:], {0: 4}) == set()
    assert offsets.not_yet_stored([*first, *second], {0: 5}) == second


def test_ledger_rows_are_what_binary_copy_wants_in_the_order_of_the_key() -> None:
    batch = [entry(metadata(batch_id=UUID(int=number << 64 | number)), validated(rows())) for number in (3, 1, 2)]
    (data,) = ledger_rows(batch, [WriteResult(written=number) for number in (30, 10, 20)])
    fields = data.split(b"measurements.raw.v1")
    assert len(fields) == 4
    starts = [data.index((number << 64 | number).to_bytes(16)) for number in (1, 2, 3)]
    assert starts == sorted(starts)
    assert data[:6] == len(LEDGER_COLUMNS).to_bytes(2) + (16).to_bytes(4)


@pytest.mark.parametrize(
    ("stored", "log", "reason", "lost"),
    [
        (Stored(5, BATCH), Log(0, 4), StopReason.LOG_ENDS_BEFORE, 0),
        (Stored(5, BATCH), Log(8, 9), StopReason.LOG_STARTS_AFTER, 3),
    ],
)
def test_bounds_that_stop_a_partition(stored: Stored, log: Log, reason: StopReason, lost: int) -> None:
    stop = offsets.stop_by_bounds(stored, log)
    assert stop is not None
    assert (stop.reason, stop.lost) == (reason, lost)


def test_the_record_before_decides_where_it_is_still_there() -> None:
    stored = Stored(5, BATCH)
    assert [offsets.can_compare(stored, log) for log in (Log(0, 5), Log(4, 9), Log(5, 5))] == [True, True, False]
    assert not offsets.can_compare(Stored(5, None), Log(0, 9))
    assert offsets.stop_by_record(stored, BATCH) is None
    assert offsets.stop_by_record(stored, UUID(int=1)) is not None


@pytest.mark.parametrize("version", ["2.26.3", "2.23.0-dev", "1.7.5"])
def test_an_old_timescaledb_is_refused_unless_allowed(version: str) -> None:
    with pytest.raises(WrongFlavourError):
        refuse_old(version, allow_old=False)
    refuse_old(version, allow_old=True)


@pytest.mark.parametrize("version", ["2.27.0", "2.29.1-dev", "3.0.0"])
def test_a_timescaledb_that_is_new_enough_is_taken(version: str) -> None:
    refuse_old(version, allow_old=False)


class RefusedError(Exception):
    """As the database says it."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(("sqlstate", "own"), [("23514", True), ("22003", True), ("54000", True), ("23505", False)])
def test_what_makes_a_record_suspect(sqlstate: str, own: bool) -> None:  # noqa: FBT001  a table's column
    assert could_be_the_entrys_own(RefusedError(sqlstate)) is own


@pytest.mark.parametrize("sqlstate", ["53100", "58030", "25006", "57P01", "57014", "40001", "XX000", "P0001"])
def test_what_never_does(sqlstate: str) -> None:
    assert not could_be_the_entrys_own(RefusedError(sqlstate))
    assert not could_be_the_entrys_own(TimeoutError())


def test_one_in_a_hundred_and_a_hundred_in_a_minute() -> None:
    share = DeadShare()
    share.add(0, 20_000, 0)
    for second in range(150):
        share.add(second / 10, 0, 1)
    share.add(59, 0, 40)
    with pytest.raises(TooManyDeadError):
        share.add(59, 0, 11)
    share.add(200, 50, 99)


def test_waiting_grows_and_stays_short() -> None:
    assert [round(backoff_seconds(failures), 1) for failures in (0, 1, 5, 50)] == [0.1, 0.2, 3.2, 5.0]


class FakeStore:
    """Keeps records; refuses poisoned ones, and everything while it is away."""

    def __init__(self, poisoned: Sequence[int] = (), failures: Sequence[Exception] = ()) -> None:
        self.kept: list[ValidatedEntry] = []
        self._poisoned, self._failures = set(poisoned), list(failures)
        self.healthy = True

    async def store(self, records: Sequence[ValidatedEntry]) -> StoredBatch:
        if self._failures:
            raise self._failures.pop(0)
        if any(one.offset in self._poisoned and one.fault is None for one in records):
            raise RefusedError("23514")
        self.kept.extend(records)
        return StoredBatch(records, [WriteResult()] * len(records), 0, 0)

    async def prove_healthy(self, record: ValidatedEntry) -> None:
        if not self.healthy:
            self.healthy = True
            self._poisoned.discard(record.offset)
            raise RefusedError("23514")


class FakeLetters:
    def __init__(self) -> None:
        self.sent: list[ValidatedEntry] = []

    async def send(self, records: Sequence[ValidatedEntry]) -> None:
        self.sent.extend(records)


class SilentNotes:
    def __init__(self) -> None:
        self.failures: list[Exception] = []

    def stored(self, batch: StoredBatch, seconds: float) -> None: ...

    def database_failed(self, error: Exception) -> None:
        self.failures.append(error)

    def died(self, record: ValidatedEntry) -> None: ...


def writing(store: Store, letters: DeadLetters, notes: SilentNotes | None = None) -> Writing:
    clock = ManualClock(RECEIVED_AT_MS)

    async def pause(seconds: float) -> None:
        clock.advance(seconds)

    return Writing(store, letters, notes or SilentNotes(), clock, pause)


def some_records(count: int) -> list[ValidatedEntry]:
    return [entry(metadata(item=number), validated(), number) for number in range(count)]


async def test_the_records_at_fault_die_and_the_others_keep_their_order() -> None:
    store, letters = FakeStore(poisoned=(3, 4, 9)), FakeLetters()
    await writing(store, letters).write(some_records(10))
    assert [one.offset for one in store.kept] == list(range(10))
    assert [one.offset for one in store.kept if one.fault] == [one.offset for one in letters.sent] == [3, 4, 9]


async def test_a_database_that_refuses_the_harmless_row_too_marks_nothing_dead() -> None:
    store, letters, notes = FakeStore(poisoned=(1,)), FakeLetters(), SilentNotes()
    store.healthy = False
    await writing(store, letters, notes).write(some_records(3))
    assert letters.sent == []
    assert [one.offset for one in store.kept] == [0, 1, 2]
    assert len(notes.failures) == 1


async def test_failures_are_waited_out() -> None:
    failures = [RefusedError("53100"), TimeoutError(), OSError(), RefusedError("25006")]
    store, letters, notes = FakeStore(failures=failures), FakeLetters(), SilentNotes()
    await writing(store, letters, notes).write(some_records(3))
    assert (len(store.kept), letters.sent, notes.failures) == (3, [], failures)


async def test_offsets_behind_are_the_readers_business() -> None:
    with pytest.raises(OffsetsBehindError):
        await writing(FakeStore(failures=[OffsetsBehindError({1})]), FakeLetters()).write(some_records(1))


def test_all_write_results_together() -> None:
    assert total([WriteResult(1, 2, 3, 4), WriteResult(10, 20, 30, 40)]) == WriteResult(11, 22, 33, 44)
    assert total([]) == WriteResult()
