"""Every case of comparing the database's offset with the log: go on, go back, or stop until an operator says so."""

import io
from argparse import Namespace
from collections.abc import AsyncIterator

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from metering_common.contract import topics
from metering_common.contract.topics import VALIDATED
from metering_common.postgres.pool import TimedPool
from metering_common.service.settings import KafkaSettings
from metering_local.testing import delete_topics
from metering_writer.commands import offsets as command
from metering_writer.domain.records import Record
from metering_writer.settings import ToolSettings, WriterSettings
from metering_writer.testing import (
    MEASURED_AT,
    RECEIVED_AT_MS,
    BatchValidator,
    Outside,
    headers,
    record,
    rows,
    running,
    validated,
)

PARTITION = TopicPartition(VALIDATED, 0)


def some_records(count: int, first: int = 0, device: int = 1, partition: int = 0) -> list[Record]:
    return [
        record(
            headers(device, RECEIVED_AT_MS + number),
            validated(rows(timestamps=(MEASURED_AT + 60 * number,))),
            number,
            partition,
        )
        for number in range(first, first + count)
    ]


@pytest.fixture
def outside(pool: TimedPool, settings: WriterSettings) -> Outside:
    return Outside(pool, settings)


@pytest.fixture
async def admin(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await client.start()
    yield client
    await client.close()


async def restore(owner: TimedPool, backup: list[Record]) -> None:
    """As from a backup that was made when these records were stored."""
    kept = [one.headers.batch_id for one in backup]
    revs = [one.headers.rev for one in backup]
    async with owner.acquire() as session, session.transaction():
        await session.execute("DELETE FROM ingest_batch WHERE batch_id <> ALL ($1::uuid[])", kept)
        await session.execute("DELETE FROM measurement WHERE rev <> ALL ($1::bigint[])", revs)
        if not kept:
            await session.execute("DELETE FROM consumer_offset")
            return
        await session.execute(
            "UPDATE consumer_offset SET next_offset = $1, batch_id = $2, item = 0 WHERE partition = 0",
            len(kept),
            kept[-1],
        )


@pytest.mark.parametrize("kept", [0, 4])
async def test_a_database_restored_while_the_writer_was_away_is_filled_again(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, owner: TimedPool, kept: int
) -> None:
    batch = some_records(10)
    await validate.send(*batch)
    async with running(settings):
        await outside.stored(10)
    await restore(owner, batch[:kept])
    async with running(settings):
        await outside.stored(10)
    assert await outside.count() == 20


@pytest.mark.parametrize("kept", [0, 4])
async def test_a_database_restored_while_the_writer_runs_is_filled_again(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, owner: TimedPool, kept: int
) -> None:
    batch = some_records(10)
    async with running(settings):
        await validate.send(*batch)
        await outside.stored(10)
        await restore(owner, batch[:kept])
        await validate.send(*some_records(1, first=10))
        await outside.stored(11)
    assert await outside.count() == 22


async def operator_says(settings: WriterSettings, offset: int) -> None:
    tools = ToolSettings(database_url=settings.database_url, kafka=settings.kafka)
    out = io.StringIO()
    assert await command.choose(tools, Namespace(partition=0, offset=offset), out) == 0
    assert out.getvalue() == f"{VALIDATED} 0 goes on at {offset}\n"


@pytest.mark.parametrize(
    ("in_new_topic", "reason"), [(3, "log_ends_before"), (10, "other_record"), (14, "other_record")]
)
async def test_a_topic_recreated_stops_the_partition_until_an_operator_says_so(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, in_new_topic: int, reason: str
) -> None:
    await validate.send(*some_records(10))
    async with running(settings):
        await outside.stored(10)
    await delete_topics(settings.kafka)
    await topics.apply(settings.kafka)
    await validate.send(*some_records(in_new_topic, device=2))
    async with running(settings):
        assert "partition 0" in await outside.unready("partitions")
        assert (await outside.metrics())[f'metering_writer_stopped_partitions{{reason="{reason}"}}'] == 1
        assert await outside.count("ingest_batch") == 10
        await operator_says(settings, 0)
        await outside.stored(10 + in_new_topic)
        await outside.ready()


async def test_the_other_partitions_go_on_meanwhile(
    settings: WriterSettings, validate: BatchValidator, outside: Outside
) -> None:
    await validate.send(*some_records(10))
    async with running(settings):
        await outside.stored(10)
    await delete_topics(settings.kafka)
    await topics.apply(settings.kafka)
    async with running(settings):
        await outside.unready("partitions")
        await validate.send(*some_records(5, device=3, partition=1))
        await outside.stored(15)


async def test_a_log_cut_off_before_it_was_stored_is_a_loss_that_is_counted(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, admin: AIOKafkaAdminClient
) -> None:
    await validate.send(*some_records(4))
    async with running(settings):
        await outside.stored(4)
    await validate.send(*some_records(6, first=4))
    await admin.delete_records({PARTITION: RecordsToDelete(before_offset=7)})
    async with running(settings):
        assert "3 records are lost" in await outside.unready("partitions")
        metrics = await outside.metrics()
        assert metrics["metering_writer_lost_records_total"] == 3
        assert metrics['metering_writer_stopped_partitions{reason="log_starts_after"}'] == 1
        await operator_says(settings, 7)
        await outside.stored(7)


async def test_a_log_cut_off_behind_what_was_stored_is_no_loss(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, admin: AIOKafkaAdminClient
) -> None:
    await validate.send(*some_records(4))
    async with running(settings):
        await outside.stored(4)
    await admin.delete_records({PARTITION: RecordsToDelete(before_offset=4)})
    await validate.send(*some_records(3, first=4))
    async with running(settings):
        await outside.stored(7)
        await outside.ready()


async def test_a_new_database_begins_where_the_log_does(
    settings: WriterSettings, validate: BatchValidator, outside: Outside, admin: AIOKafkaAdminClient
) -> None:
    await validate.send(*some_records(6))
    await admin.delete_records({PARTITION: RecordsToDelete(before_offset=2)})
    async with running(settings):
        await outside.stored(4)
        await outside.ready()


async def test_the_operator_sees_where_each_partition_stands(
    settings: WriterSettings, validate: BatchValidator, outside: Outside
) -> None:
    batch = some_records(2)
    await validate.send(*batch)
    async with running(settings):
        await outside.stored(2)
    out = io.StringIO()
    tools = ToolSettings(database_url=settings.database_url, kafka=settings.kafka)
    assert await command.show(tools, Namespace(), out) == 0
    assert out.getvalue().splitlines()[0] == f"{VALIDATED} 0 2 {batch[-1].headers.batch_id} item 0"
