"""The factories' settings against a broker: the largest records come through, and only committed ones."""

import asyncio
from random import Random

from metering_common.contract import topics
from metering_common.kafka import clients
from metering_common.service.settings import KafkaSettings

LARGEST = 4_194_304 - 1_000


async def read(settings: KafkaSettings, count: int, topic: str = topics.RAW) -> list[tuple[bytes, int]]:
    found: list[tuple[bytes, int]] = []
    async with asyncio.timeout(20), clients.consumer(settings, topic) as consumer:
        while len(found) < count:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [(record.key, len(record.value)) for record in records]
    return sorted(found)


async def test_the_largest_records_on_every_partition_come_through(kafka: KafkaSettings) -> None:
    """More than a consumer asks for per partition: the broker gives at least one batch per answer."""
    value = Random(1).randbytes(LARGEST)
    async with clients.producer(kafka) as producer:
        for number in range(12):
            for size in (LARGEST, 10):
                await producer.send_and_wait(topics.RAW, value[:size], b"%02d" % number, partition=number)
    expected = [(b"%02d" % number, size) for number in range(12) for size in (10, LARGEST)]
    assert await read(kafka, len(expected)) == expected


async def test_readers_see_what_was_committed_only(kafka: KafkaSettings) -> None:
    producer = clients.producer(kafka, transactional_id="test")
    async with producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topics.REGISTRY, b"{}", b"undone")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send(topics.REGISTRY, b"{}", b"done")
    assert await read(kafka, 1, topics.REGISTRY) == [(b"done", 2)]


async def test_nothing_is_committed_by_itself(kafka: KafkaSettings) -> None:
    async with clients.producer(kafka) as producer:
        await producer.send_and_wait(topics.RAW, b"{}", b"29")
    for _ in range(2):
        async with clients.consumer(kafka, topics.RAW, group_id="g", auto_commit_interval_ms=10) as consumer:
            record = await asyncio.wait_for(consumer.getone(), 10)
            assert record.offset == 0
            await asyncio.sleep(0.05)
