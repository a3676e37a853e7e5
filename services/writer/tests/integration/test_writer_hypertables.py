"""The writer's one transaction on TimescaleDB: binary COPY, probe, upsert, ledger and offsets in real hypertables."""

from typing import Any, cast

import pytest

from metering_common.contract.messages import Refusal
from metering_common.contract.metadata import EntryPosition
from metering_common.contract.topics import RAW, VALIDATED
from metering_writer.adapters.store import PostgresStore
from metering_writer.domain.accounts import WriteResult
from metering_writer.domain.entries import ValidatedEntry, dead
from metering_writer.queries import sql
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, entry, envelope, metadata, rows, validated
from metering_writer.testing_flavours import WasmTimescale
from metering_writer.testing_wasm import WasmPool, filled

YEAR_S = 365 * 86_400
TABLES = "measurement, measurement_correction, ingest_batch, rejected_measure, consumer_offset"


class Hypertables:
    """A store, and what stands in the tables after it."""

    def __init__(self, storage: WasmTimescale) -> None:
        self._storage = storage
        self._store = PostgresStore(
            cast("Any", WasmPool(storage)), lock_wait_seconds=5, owns=lambda _: True, hypertables=True
        )
        storage.execute(f"TRUNCATE {TABLES}")
        storage.execute(filled(sql.add_offset, (VALIDATED, 0, 0)))
        self._offset = 0

    async def takes(self, *entries: ValidatedEntry) -> list[WriteResult]:
        placed = [self._placed(one) for one in entries]
        return list((await self._store.store(placed)).write_results)

    def _placed(self, one: ValidatedEntry) -> ValidatedEntry:
        """The same entry at the next offset."""
        self._offset += 1
        (placed,) = envelope((one.metadata, one.validated), offset=self._offset - 1)
        return placed._replace(fault=one.fault)

    def values(self) -> list[float]:
        return [row["value"] for row in self._storage.rows("SELECT value FROM measurement ORDER BY ts, sensor_id")]

    def values_as_of(self, instant: str) -> list[float]:
        query = f"SELECT value FROM measurement_as_of('{instant}') ORDER BY time, sensor_id"
        return [row["value"] for row in self._storage.rows(query)]

    def now(self) -> str:
        return str(self._storage.rows("SELECT clock_timestamp() AS now")[0]["now"])

    def count(self, condition: str) -> int:
        return int(self._storage.rows(f"SELECT count(*) FROM {condition}")[0]["count"])

    def compress(self) -> None:
        """Every chunk of measurements."""
        self._storage.execute("SELECT compress_chunk(chunk) FROM show_chunks('measurement') AS chunk")
        assert (
            self.count("timescaledb_information.chunks WHERE NOT is_compressed AND hypertable_name = 'measurement'")
            == 0
        )


@pytest.fixture
def hypertables(timescale_storage: WasmTimescale) -> Hypertables:
    return Hypertables(timescale_storage)


def version(value: float, later_ms: int = 0, measured_at: int = MEASURED_AT) -> ValidatedEntry:
    about = metadata(received_at_ms=RECEIVED_AT_MS + later_ms)
    return entry(about, validated(rows((3,), (measured_at,), [value])))


async def test_new_values_corrections_and_resends(hypertables: Hypertables) -> None:
    block = rows((3, 6), range(MEASURED_AT, MEASURED_AT + 5 * 86_400, 86_400))
    assert await hypertables.takes(entry(metadata(), validated(block))) == [WriteResult(written=10)]
    resent = entry(metadata(received_at_ms=RECEIVED_AT_MS + 1), validated(block))
    assert await hypertables.takes(resent, version(77.0, 3), version(88.0, 2)) == [
        WriteResult(present=10), WriteResult(corrected=1), WriteResult(corrected=1)
    ]  # fmt: skip
    assert hypertables.values() == [77.0, *map(float, range(1, 10))]
    assert hypertables.count("ingest_batch WHERE accepted = written + corrected + present + superseded") == 4


async def test_late_values_go_into_compressed_chunks(hypertables: Hypertables) -> None:
    """A year after: beside what stands there, in its place, and behind what came later."""
    late = MEASURED_AT - YEAR_S
    await hypertables.takes(version(1.0, 10, late), version(2.0, 10, late + 60))
    hypertables.compress()
    write_results = await hypertables.takes(
        version(3.0, 20, late), version(4.0, 5, late + 60), version(5.0, 20, late + 120)
    )
    assert write_results == [WriteResult(corrected=1), WriteResult(superseded=1), WriteResult(written=1)]
    assert hypertables.values() == [3.0, 2.0, 5.0]
    assert hypertables.count("measurement_correction WHERE stood AND (old_value, new_value) = (1, 3)") == 1
    assert hypertables.count("measurement_correction WHERE NOT stood AND (old_value, new_value) = (4, 2)") == 1
    assert hypertables.values_as_of("2030-01-01") == [3.0, 2.0, 5.0]


async def test_what_stood_before_a_correction_can_be_read_again(hypertables: Hypertables) -> None:
    """In chunks that are compressed and in chunks that are not."""
    late = MEASURED_AT - YEAR_S
    await hypertables.takes(version(1.0, 10, late), version(1.0, 10))
    await hypertables.takes(version(1.0, 15, late), version(1.0, 15))
    hypertables.compress()
    before = hypertables.now()
    await hypertables.takes(version(2.0, 20, late), version(2.0, 20))
    assert hypertables.values_as_of(before) == [1.0, 1.0]
    assert hypertables.values_as_of(hypertables.now()) == [2.0, 2.0]
    assert hypertables.count("measurement WHERE first_rev >> 20 = " + str(RECEIVED_AT_MS + 10)) == 2


async def test_a_record_delivered_twice_and_a_dead_one(hypertables: Hypertables) -> None:
    one = version(1.0)
    await hypertables.takes(one, one, dead(version(2.0).envelope, 0, "cannot be read"))
    assert hypertables.values() == [1.0]
    assert [hypertables.count(f"ingest_batch WHERE status = '{status}'") for status in ("validated", "dead")] == [1, 1]
    assert hypertables.count("consumer_offset WHERE next_offset = 3") == 1


async def test_a_replay_closes_what_it_validated_again(hypertables: Hypertables) -> None:
    refusal = Refusal(rule="RV-03", name="Nadie's", count=1)
    first = entry(metadata(), validated(rows((3,), values=[1.0]), refusals=[refusal]))
    await hypertables.takes(first)
    again = metadata(replays=EntryPosition(RAW, 0, 0, 0), rev=first.metadata.rev)
    result = validated(rows((3, 6), values=[1.0, 2.0]))
    assert await hypertables.takes(entry(again, result)) == [WriteResult(written=1, present=1)]
    assert hypertables.count("rejected_measure_open") == 0
    assert hypertables.count(f"ingest_batch WHERE replayed_as = '{again.batch_id}'") == 1
