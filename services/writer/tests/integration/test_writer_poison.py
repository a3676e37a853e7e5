"""A record that the database refuses for itself is found among its neighbours; nothing else ever dies."""

import asyncio
import json
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from metering_common.contract.dead_letters import METADATA, decode_dead_letter_headers
from metering_common.contract.envelope import PackedEntry, UnknownSchemaVersionError, envelope_headers, pack
from metering_common.contract.messages import encode_validated
from metering_common.contract.metadata import encode_metadata
from metering_common.contract.topics import DEAD, VALIDATED
from metering_common.kafka import clients as kafka_client
from metering_common.postgres.pool import TimedPool
from metering_common.service.settings import KafkaSettings
from metering_writer.bootstrap import build
from metering_writer.domain.entries import ValidatedEntry
from metering_writer.settings import WriterSettings
from metering_writer.testing import MEASURED_AT, BatchValidator, Outside, envelope, metadata, rows, running, validated

POISON = 666.0
BATCH = UUID("019a0f3c-7d2e-7c41-9b0e-5f6a7c8d9e0f")


def some_records(count: int, poisoned: int | None = None) -> list[ValidatedEntry]:
    """Seven of them in an envelope."""
    contents = [
        (metadata(), validated(rows((3,), (MEASURED_AT + 60 * number,), [POISON if number == poisoned else 1.0])))
        for number in range(count)
    ]
    parts = [contents[start : start + 7] for start in range(0, count, 7)]
    return [one for offset, part in enumerate(parts) for one in envelope(*part, offset=offset)]


async def dead_letters(kafka: KafkaSettings, count: int) -> list[ConsumerRecord]:
    consumer: AIOKafkaConsumer = kafka_client.consumer(kafka, DEAD)
    await consumer.start()
    try:
        return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.fixture
def outside(pool: TimedPool, settings: WriterSettings) -> Outside:
    return Outside(pool, settings)


async def test_one_entry_at_fault_is_found_by_bisection_among_its_neighbours_in_the_envelope(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, owner: TimedPool, kafka: KafkaSettings
) -> None:
    await owner.execute("ALTER TABLE measurement ADD CONSTRAINT no_poison CHECK (value <> 666)")
    batch = some_records(40, poisoned=17)
    await validate.send(*batch)
    async with running(settings):
        await outside.stored(40)
        metrics = await outside.metrics()
    assert await outside.count() == 39
    assert metrics["metering_writer_dead_entries_total"] == 1
    (letter,) = await dead_letters(kafka, 1)
    original, note = decode_dead_letter_headers([(name, bytes(value)) for name, value in letter.headers])
    assert (letter.value, original[:-1]) == (encode_validated(batch[17].validated), batch[17].envelope.record.headers)
    assert original[-1] == (METADATA, encode_metadata(batch[17].metadata))
    assert "no_poison" in note.error
    assert (str(note.position), note.service) == (f"{VALIDATED}/0/2/3", "writer")
    (row,) = await owner.fetch("SELECT batch_id, raw_offset, raw_index FROM ingest_batch WHERE status = 'dead'")
    assert tuple(row) == (batch[17].metadata.batch_id, 2, 3)
    assert await owner.fetchval("SELECT next_offset FROM consumer_offset WHERE partition = 0") == 6


async def test_what_the_database_refuses_to_all_is_no_records_fault(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, owner: TimedPool
) -> None:
    """A constraint that no row passes has the same SQLSTATE as one that a single row fails."""
    await owner.execute("ALTER TABLE measurement ADD CONSTRAINT nothing CHECK (value IS NULL)")
    await validate.send(*some_records(5))
    async with running(settings):
        assert "nothing" in await outside.unready("database")
        assert (await outside.metrics())["metering_writer_dead_entries_total"] == 0
        await owner.execute("ALTER TABLE measurement DROP CONSTRAINT nothing")
        await outside.stored(5)
        assert (await outside.metrics())["metering_writer_dead_entries_total"] == 0
    assert await outside.count() == 5


async def test_too_many_dead_stop_the_consumer_before_they_are_sent(
    settings: WriterSettings, validate: BatchValidator, outside: Outside
) -> None:
    unreadable = [PackedEntry(encode_metadata(metadata()), b"{") for _ in range(150)]
    await validate.send_raw((0, envelope_headers(BATCH, 150), pack(unreadable)))
    patient = settings.model_copy(update={"batch_seconds": 60, "batch_entries": 150})
    async with running(patient):
        assert "150 of the last minute's 150" in await outside.unready("consumer")
        metrics = await outside.metrics()
    assert metrics["metering_writer_stopped"] == 1
    assert metrics["metering_writer_dead_entries_total"] == 0
    assert await outside.count("ingest_batch") == 0


async def test_a_record_of_a_newer_release_ends_the_process_before_any_commit(
    settings: WriterSettings, validate: BatchValidator, outside: Outside
) -> None:
    (good,) = some_records(1)
    await validate.send(good)
    newer = [("schema-version", b"2"), *good.envelope.record.headers[1:]]
    await validate.send_raw((0, newer, good.envelope.record.value or b""))
    async with build(settings) as writer, asyncio.timeout(120):
        with pytest.raises(UnknownSchemaVersionError):
            await writer.run()
    assert await outside.count("ingest_batch") <= 1


async def test_text_that_postgresql_cannot_hold_goes_in_escaped(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, owner: TimedPool
) -> None:
    samples = [{"timestamp": "1", "value": '"\\u0000\\ud800"'}]
    refusal = {"rule": "RV-05", "name": "\\u0000", "count": 1, "samples": samples}
    value = json.loads(encode_validated(validated(rows((3,), values=[1.0])))) | {"refusals": [refusal]}
    value["counts"] |= {"refused": 1, "values": 2}
    one = PackedEntry(encode_metadata(metadata()), json.dumps(value).encode())
    await validate.send_raw((0, envelope_headers(BATCH, 1), pack([one])))
    async with running(settings):
        await outside.stored(1)
    assert await owner.fetchval("SELECT samples->0->>'value' FROM rejected_measure") == '"\\u0000\\ud800"'
