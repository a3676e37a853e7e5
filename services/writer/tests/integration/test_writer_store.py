"""One transaction per batch: each value once, of two the one received later, and every value accounted for."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from metering_common.contract.messages import RawValue, Refusal
from metering_common.contract.metadata import RecordPosition
from metering_common.contract.topics import RAW, VALIDATED
from metering_common.postgres.pool import TimedPool
from metering_writer.adapters.store import PostgresStore
from metering_writer.application import OffsetsBehindError, PartitionsTakenError
from metering_writer.domain.accounts import WriteResult
from metering_writer.domain.records import Record, dead
from metering_writer.queries import sql
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, headers, record, rows, validated

BATCH = UUID("019a0f3c-7d2e-7c41-9b0e-5f6a7c8d9e0f")


@pytest.fixture
async def store(pool: TimedPool, new_store: Callable[..., PostgresStore]) -> PostgresStore:
    for partition in range(3):
        await pool.execute(sql.add_offset, VALIDATED, partition, 0)
    return new_store(lock_wait_seconds=0.3, owns=lambda _: True)


async def stored_values(pool: TimedPool) -> dict[tuple[int, int, int], float]:
    found = await pool.fetch(
        "SELECT device_id, extract(epoch FROM ts)::bigint AS ts, sensor_id, value FROM measurement"
    )
    return {(row["device_id"], row["ts"], row["sensor_id"]): row["value"] for row in found}


async def ledger(pool: TimedPool) -> list[asyncpg.Record]:
    return list(await pool.fetch("SELECT * FROM ingest_batch ORDER BY stored_at"))


async def test_new_rows_are_written_with_their_time_value_rev_and_quality(
    store: PostgresStore, pool: TimedPool
) -> None:
    about = headers()
    content = validated(rows((3, 6), (MEASURED_AT, MEASURED_AT - 60), (1.5, 2.5, 3.5, 4.5), (0, 3, 1, 0)))
    batch = await store.store([record(about, content)])
    assert batch.write_results == [WriteResult(written=4)]
    found = await pool.fetch("SELECT * FROM measurement ORDER BY ts, sensor_id")
    assert [(row["value"], row["quality"]) for row in found] == [(3.5, 1), (4.5, 0), (1.5, 0), (2.5, 3)]
    assert {row["rev"] for row in found} == {about.rev}
    assert found[0]["ts"].timestamp() == MEASURED_AT - 60


async def test_the_ledger_closes_per_record(store: PostgresStore, pool: TimedPool) -> None:
    refusal = Refusal(
        rule="RV-05", name="Corriente A", sensor=6, count=2, samples=[RawValue(timestamp="1", value='"\\u00f1"')]
    )
    await store.store([record(headers(), validated(rows(), refusals=[refusal], not_taken=3, repeated=1))])
    (row,) = await ledger(pool)
    assert row["values"] == row["accepted"] + row["refused"] + row["not_taken"] + row["repeated"] == 8
    assert row["accepted"] == row["written"] + row["corrected"] + row["present"] + row["superseded"] == 2
    (refused,) = await pool.fetch("SELECT rule, sensor_id, count, samples FROM rejected_measure")
    assert (refused["rule"], refused["sensor_id"], refused["count"]) == ("RV-05", 6, 2)
    assert refused["samples"] == '[{"value": "\\"\\\\u00f1\\"", "timestamp": "1"}]'


async def test_a_resend_changes_no_value_and_raises_rev(store: PostgresStore, pool: TimedPool) -> None:
    content = validated(rows())
    await store.store([record(headers(), content, 0)])
    later = headers(received_at_ms=RECEIVED_AT_MS + 1)
    batch = await store.store([record(later, content, 1)])
    assert batch.write_results == [WriteResult(present=2)]
    assert {row["rev"] for row in await pool.fetch("SELECT rev FROM measurement")} == {later.rev}


async def test_a_correction_received_later_wins_and_an_older_one_does_not(
    store: PostgresStore, pool: TimedPool
) -> None:
    await store.store([record(headers(), validated(rows((3,), values=[1.0])), 0)])
    newer = record(headers(received_at_ms=RECEIVED_AT_MS + 10), validated(rows((3,), values=[2.0])), 1)
    older = record(headers(received_at_ms=RECEIVED_AT_MS + 5), validated(rows((3,), values=[9.0])), 2)
    assert (await store.store([newer])).write_results == [WriteResult(corrected=1)]
    assert (await store.store([older])).write_results == [WriteResult(superseded=1)]
    assert await stored_values(pool) == {(29, MEASURED_AT, 3): 2.0}


async def test_versions_of_one_key_within_a_batch_are_each_accounted_for(store: PostgresStore, pool: TimedPool) -> None:
    await store.store([record(headers(received_at_ms=RECEIVED_AT_MS + 2), validated(rows((3,), values=[5.0])), 0)])
    versions = [(4, 7.0), (1, 1.0), (3, 6.0), (5, 7.0), (0, 5.0)]
    batch = [
        record(headers(received_at_ms=RECEIVED_AT_MS + ms), validated(rows((3,), values=[value])), 1 + place)
        for place, (ms, value) in enumerate(versions)
    ]
    write_results = (await store.store(batch)).write_results
    assert write_results == [
        WriteResult(corrected=1),
        WriteResult(superseded=1),
        WriteResult(corrected=1),
        WriteResult(present=1),
        WriteResult(present=1),
    ]
    assert await stored_values(pool) == {(29, MEASURED_AT, 3): 7.0}


async def test_a_redelivered_record_is_a_no_op_as_a_whole(store: PostgresStore, pool: TimedPool) -> None:
    about = headers(batch_id=BATCH)
    await store.store([record(about, validated(rows((3,), values=[1.0])), 0)])
    again = await store.store([record(about, validated(rows((3, 6), values=[9.0, 9.0])), 1)])
    assert (again.redelivered, again.records) == (1, [])
    assert await stored_values(pool) == {(29, MEASURED_AT, 3): 1.0}
    assert await pool.fetchval("SELECT next_offset FROM consumer_offset WHERE partition = 0") == 2


async def test_only_the_first_result_of_a_batch_counts(store: PostgresStore, pool: TimedPool) -> None:
    about = headers(batch_id=BATCH)
    batch = [record(about, validated(rows((3,), values=[value])), offset) for offset, value in enumerate((1.0, 2.0))]
    assert (await store.store(batch)).redelivered == 1
    assert await stored_values(pool) == {(29, MEASURED_AT, 3): 1.0}


async def test_what_is_stored_already_is_trimmed(store: PostgresStore, pool: TimedPool) -> None:
    batch = [record(headers(device=device), validated(rows()), device) for device in range(4)]
    await store.store(batch[:3])
    again = await store.store(batch)
    assert (len(again.records), again.trimmed) == (1, 3)
    assert len(await ledger(pool)) == 4


async def test_records_ahead_of_the_database_are_not_stored(store: PostgresStore, pool: TimedPool) -> None:
    with pytest.raises(OffsetsBehindError) as behind:
        await store.store(
            [record(headers(), validated(rows()), 0), record(headers(), validated(rows()), 7, partition=1)]
        )
    assert behind.value.partitions == {1}
    assert await ledger(pool) == []


async def test_a_partition_without_a_row_is_not_stored(store: PostgresStore) -> None:
    with pytest.raises(OffsetsBehindError):
        await store.store([record(headers(), validated(rows()), 0, partition=9)])


async def test_two_writers_with_the_same_keys_in_two_partitions_lose_nothing(
    store: PostgresStore, pool: TimedPool
) -> None:
    """As after a change of the number of partitions: both race for the same keys."""

    def version(partition: int, number: int) -> Record:
        about = headers(received_at_ms=RECEIVED_AT_MS + number)
        block = rows((3, 6), range(MEASURED_AT, MEASURED_AT + 200), [float(number)] * 400)
        return record(about, validated(block), number // 2, partition)

    await asyncio.gather(*(store.store([version(0, 2 * turn)]) for turn in range(1)))
    for turn in range(1, 6):
        await asyncio.gather(store.store([version(0, 2 * turn)]), store.store([version(1, 2 * turn - 1)][:1]))
    assert set((await stored_values(pool)).values()) == {10.0}
    accepted = await pool.fetchval(
        "SELECT sum(accepted - written - corrected - present - superseded) FROM ingest_batch"
    )
    assert accepted == 0
    assert await pool.fetchval("SELECT sum(written) FROM ingest_batch") == 400


async def test_a_session_that_keeps_its_lock_is_ended(store: PostgresStore, pool: TimedPool) -> None:
    """A process stopped in mid-COPY keeps its lock for as long as it sleeps."""
    async with pool.acquire() as sleeper:
        await sleeper.execute("BEGIN")
        await sleeper.fetch(sql.lock_offsets, VALIDATED, [0])
        batch = await store.store([record(headers(), validated(rows()))])
        assert batch.write_results == [WriteResult(written=2)]
        with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresError)):
            await sleeper.execute("SELECT 1")


async def test_a_writer_that_has_lost_its_partition_ends_nobodys_session(
    store: PostgresStore, pool: TimedPool, new_store: Callable[..., PostgresStore]
) -> None:
    """Or two would end each other's for ever, where a transaction takes longer than their retry."""
    former = new_store(lock_wait_seconds=0.1, owns=lambda partitions: 0 not in partitions)
    async with pool.acquire() as owner, owner.transaction():
        await owner.fetch(sql.lock_offsets, VALIDATED, [0])
        with pytest.raises(PartitionsTakenError):
            await former.store([record(headers(), validated(rows()))])
        await owner.execute(sql.set_offset, VALIDATED, 0, 1)
    assert (await former.store([record(headers(), validated(rows()))])).trimmed == 1
    assert (await store.store([record(headers(), validated(rows()), 1)])).write_results == [WriteResult(written=2)]


async def test_a_dead_record_has_its_row_and_moves_the_offset(store: PostgresStore, pool: TimedPool) -> None:
    poison = record(headers(batch_id=BATCH), validated(rows()))
    await store.store([dead(poison.source, poison.headers, "the value \0 cannot be read")])
    (row,) = await ledger(pool)
    assert (row["status"], row["batch_id"], row["error"]) == ("dead", BATCH, "the value \\0 cannot be read")
    assert await pool.fetchval("SELECT next_offset FROM consumer_offset WHERE partition = 0") == 1


async def test_a_replay_closes_the_refusals_of_the_record_it_validated_again(
    store: PostgresStore, pool: TimedPool
) -> None:
    refusal = Refusal(rule="RV-03", name="Nadie", count=1)
    await store.store([record(headers(batch_id=BATCH), validated(rows((3,), values=[1.0]), refusals=[refusal]), 0)])
    replayed = headers(replays=RecordPosition(RAW, 0, 0), rev=headers(batch_id=BATCH).rev)
    batch = await store.store([record(replayed, validated(rows((3, 6), values=[1.0, 2.0])), 1)])
    assert batch.write_results == [WriteResult(written=1, present=1)]
    assert await pool.fetchval("SELECT replayed_as FROM rejected_measure") == replayed.batch_id
    assert await pool.fetchval("SELECT replayed_as FROM ingest_batch WHERE batch_id = $1", BATCH) == replayed.batch_id
    assert await pool.fetchval("SELECT count(*) FROM rejected_measure_open") == 0


async def test_a_healthy_database_takes_a_harmless_row_and_gives_it_back(store: PostgresStore, pool: TimedPool) -> None:
    await store.prove_healthy(record(headers(), validated(rows())))
    assert await stored_values(pool) == {}
    assert await ledger(pool) == []


async def test_times_that_statistics_do_not_know_yet_are_looked_up_by_key(pool: TimedPool, owner: TimedPool) -> None:
    """As in every hour of operation: what a batch brings is later than all that the last ANALYZE has seen.

    By its statistics there is nothing in the batch's range of times, and to read that first would look cheapest.
    """
    fill = (
        "INSERT INTO measurement SELECT to_timestamp($1::bigint + 60 * n), 1, 1, d, s, 0"
        " FROM generate_series(0, 199) n, generate_series(1, 10) d, generate_series(1, 3) s"
    )
    await owner.execute(fill, MEASURED_AT - 86_400)
    await owner.execute("ANALYZE measurement")
    await owner.execute(fill, MEASURED_AT)
    keys = [(device, MEASURED_AT + 60 * n) for device in range(1, 11) for n in range(200)]
    devices, times = [device for device, _ in keys], [ts for _, ts in keys]
    async with pool.acquire() as session, session.transaction():
        await session.execute(sql.plan_by_keys)
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.existing_values}"
        plan = json.loads(await session.fetchval(explain, devices, times, min(times), max(times)))[0]["Plan"]
        await session.execute(sql.make_staging)
        await session.execute(
            "INSERT INTO measurement_staging SELECT ts, 2, 2, device_id, sensor_id, 0 FROM measurement"
            " WHERE ts >= to_timestamp($1)",
            MEASURED_AT,
        )
        updating = json.loads(await session.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql.update_staged}"))[0]["Plan"]
    assert plan["Actual Rows"] == 3 * len(keys)
    assert list(removed_rows(plan)) == []
    assert list(removed_rows(updating)) == []
    assert await pool.fetchval("SELECT count(*) FROM measurement WHERE rev = 2") == 3 * len(keys)


def removed_rows(plan: dict[str, Any]) -> Iterator[float]:
    """What any node of a plan has read in vain."""
    yield from (value for name, value in plan.items() if name.startswith("Rows Removed") and value > 0)
    for child in plan.get("Plans", ()):
        yield from removed_rows(child)
