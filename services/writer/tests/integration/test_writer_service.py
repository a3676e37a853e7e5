"""The service as a whole, with Kafka and PostgreSQL: from the topic to the row, once, from the right place."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from metering_common.contract.metadata import encode_headers
from metering_common.contract.topics import VALIDATED
from metering_common.postgres.pool import TimedPool
from metering_common.service.settings import KafkaSettings
from metering_writer.bootstrap import GROUP
from metering_writer.domain.records import Record
from metering_writer.settings import WriterSettings
from metering_writer.testing import MEASURED_AT, BatchValidator, Outside, headers, record, rows, running, validated


def some_records(count: int, partition: int = 0, first: int = 0) -> list[Record]:
    return [
        record(headers(device=partition), validated(rows(timestamps=(MEASURED_AT + 60 * number,))), number, partition)
        for number in range(first, first + count)
    ]


@pytest.fixture
def outside(pool: TimedPool, settings: WriterSettings) -> Outside:
    return Outside(pool, settings)


async def test_what_was_validated_stands_in_sql(
    settings: WriterSettings, validate: BatchValidator, pool: TimedPool, outside: Outside
) -> None:
    async with running(settings):
        await validate.send(*some_records(20), *some_records(20, partition=5))
        await outside.stored(40)
    assert await outside.count() == 80
    offsets = await pool.fetch("SELECT partition, next_offset FROM consumer_offset WHERE next_offset > 0 ORDER BY 1")
    assert [tuple(row) for row in offsets] == [(0, 20), (5, 20)]


async def test_the_group_has_the_offsets_too(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, kafka: KafkaSettings
) -> None:
    async with running(settings):
        await validate.send(*some_records(3))
        await outside.stored(3)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    committed = await admin.list_consumer_group_offsets(GROUP)
    await admin.close()
    assert committed[TopicPartition(VALIDATED, 0)].offset == 3


async def test_a_writer_started_again_goes_on_where_the_database_is(
    settings: WriterSettings, validate: BatchValidator, pool: TimedPool, outside: Outside
) -> None:
    await validate.send(*some_records(5))
    async with running(settings):
        await outside.stored(5)
    await validate.send(*some_records(5, first=5))
    async with running(settings):
        await outside.stored(10)
    assert await outside.count() == 20
    assert await pool.fetchval("SELECT sum(written) FROM ingest_batch") == 20


async def test_an_unreadable_record_is_set_aside_and_its_neighbours_are_stored(
    settings: WriterSettings, validate: BatchValidator, pool: TimedPool, outside: Outside
) -> None:
    good, bad, other = some_records(3)
    await validate.send(good)
    await validate.send_raw((0, encode_headers(bad.headers), b"{"), (0, [], b"also bad"))
    await validate.send(other)
    async with running(settings):
        await outside.stored(4)
    statuses = await pool.fetch("SELECT status, count(*) FROM ingest_batch GROUP BY status ORDER BY status")
    assert [tuple(row) for row in statuses] == [("dead", 2), ("validated", 2)]


@pytest.mark.parametrize("limit", [{"batch_records": 20}, {"batch_rows": 40}], ids=str)
async def test_a_batch_is_written_when_it_is_large_enough(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, limit: dict[str, int]
) -> None:
    """Long before its time. 20 records are enough; up to 9 more may have come with the last of them."""
    await validate.send(*some_records(100))
    async with running(settings.model_copy(update={"batch_seconds": 600, **limit})):
        await outside.stored(80)
        metrics = await outside.metrics()
    assert 80 / 29 <= metrics["metering_writer_batch_records_count"] <= 5


async def test_a_batch_is_written_when_its_time_has_come(
    settings: WriterSettings, validate: BatchValidator, outside: Outside
) -> None:
    """Whatever comes within it goes into one transaction."""
    await validate.send(*some_records(30))
    async with running(settings.model_copy(update={"batch_seconds": 1})):
        await outside.stored(30)
        metrics = await outside.metrics()
    assert metrics["metering_writer_batch_records_count"] <= 2


async def test_it_says_that_it_is_ready_and_counts(
    settings: WriterSettings, validate: BatchValidator, outside: Outside
) -> None:
    async with running(settings):
        await validate.send(*some_records(4))
        await outside.stored(4)
        await outside.ready()
        await asyncio.sleep(0.1)
        metrics = await outside.metrics()
    assert metrics['metering_writer_values_total{write_result="written"}'] == 8
    assert metrics['metering_writer_records_total{status="validated"}'] == 4
    assert metrics["metering_writer_queryable_seconds_count"] == 4
    assert metrics['metering_database_pool_max_connections{pool="metering-writer"}'] == 4
