"""A record that the database refuses for itself is found among its neighbours; nothing else ever dies."""

import asyncio
import json

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from metering_common.contract.codec import encode
from metering_common.contract.metadata import UnknownSchemaVersionError, decode_dead_letter_headers, encode_headers
from metering_common.contract.topics import DEAD
from metering_common.kafka import clients as kafka_client
from metering_common.postgres.pool import TimedPool
from metering_common.service.settings import KafkaSettings
from metering_writer.bootstrap import build
from metering_writer.domain.records import Record
from metering_writer.settings import WriterSettings
from metering_writer.testing import MEASURED_AT, BatchValidator, Outside, headers, record, rows, running, validated

POISON = 666.0


def some_records(count: int, poisoned: int | None = None) -> list[Record]:
    return [
        record(
            headers(),
            validated(rows((3,), (MEASURED_AT + 60 * number,), [POISON if number == poisoned else 1.0])),
            number,
        )
        for number in range(count)
    ]


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


async def test_one_record_at_fault_is_found_by_bisection(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, owner: TimedPool, kafka: KafkaSettings
) -> None:
    await owner.execute("ALTER TABLE measurement ADD CONSTRAINT no_poison CHECK (value <> 666)")
    batch = some_records(40, poisoned=17)
    await validate.send(*batch)
    async with running(settings):
        await outside.stored(40)
        metrics = await outside.metrics()
    assert await outside.count() == 39
    assert metrics["metering_writer_dead_records_total"] == 1
    (letter,) = await dead_letters(kafka, 1)
    original, note = decode_dead_letter_headers([(name, bytes(value)) for name, value in letter.headers])
    assert (letter.value, original) == (encode(batch[17].validated), encode_headers(batch[17].headers))
    assert "no_poison" in note.error
    assert (note.source.offset, note.service) == (17, "writer")
    assert await owner.fetchval("SELECT batch_id FROM ingest_batch WHERE status = 'dead'") == batch[17].headers.batch_id


async def test_what_the_database_refuses_to_all_is_no_records_fault(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, owner: TimedPool
) -> None:
    """A constraint that no row passes has the same SQLSTATE as one that a single row fails."""
    await owner.execute("ALTER TABLE measurement ADD CONSTRAINT nothing CHECK (value IS NULL)")
    await validate.send(*some_records(5))
    async with running(settings):
        assert "nothing" in await outside.unready("database")
        assert (await outside.metrics())["metering_writer_dead_records_total"] == 0
        await owner.execute("ALTER TABLE measurement DROP CONSTRAINT nothing")
        await outside.stored(5)
        assert (await outside.metrics())["metering_writer_dead_records_total"] == 0
    assert await outside.count() == 5


async def test_too_many_dead_stop_the_consumer_before_they_are_sent(
    settings: WriterSettings, validate: BatchValidator, outside: Outside
) -> None:
    await validate.send_raw(*((0, encode_headers(headers()), b"{") for _ in range(150)))
    patient = settings.model_copy(update={"batch_seconds": 60, "batch_records": 150})
    async with running(patient):
        assert "150 of the last minute's 150" in await outside.unready("consumer")
        metrics = await outside.metrics()
    assert metrics["metering_writer_stopped"] == 1
    assert metrics["metering_writer_dead_records_total"] == 0
    assert await outside.count("ingest_batch") == 0


async def test_a_record_of_a_newer_release_ends_the_process_before_any_commit(
    settings: WriterSettings, validate: BatchValidator, outside: Outside
) -> None:
    good, newer = some_records(2)
    await validate.send(good)
    await validate.send_raw(
        (0, [("schema-version", b"2"), *encode_headers(newer.headers)[1:]], encode(newer.validated))
    )
    async with build(settings) as writer, asyncio.timeout(120):
        with pytest.raises(UnknownSchemaVersionError):
            await writer.run()
    assert await outside.count("ingest_batch") <= 1


async def test_text_that_postgresql_cannot_hold_goes_in_escaped(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, owner: TimedPool
) -> None:
    samples = [{"timestamp": "1", "value": '"\\u0000\\ud800"'}]
    refusal = {"rule": "RV-05", "name": "\\u0000", "count": 1, "samples": samples}
    value = json.loads(encode(validated(rows((3,), values=[1.0])))) | {"refusals": [refusal]}
    value["counts"] |= {"refused": 1, "values": 2}
    await validate.send_raw((0, encode_headers(headers()), json.dumps(value).encode()))
    async with running(settings):
        await outside.stored(1)
    assert await owner.fetchval("SELECT samples->0->>'value' FROM rejected_measure") == '"\\u0000\\ud800"'
