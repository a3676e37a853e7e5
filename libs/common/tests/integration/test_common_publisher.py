"""What `publish` returned stands in Kafka; what cannot be taken is told at once and apart."""

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from prometheus_client import CollectorRegistry

from metering_common.contract import topics
from metering_common.kafka import clients as kafka_clients
from metering_common.kafka.publisher import Publisher, PublishUnavailableError, Record, RecordTooLargeError
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings

CLOCK = SystemClock()


def record(value: bytes = b"{}", key: bytes = b"29", topic: str = topics.RAW) -> Record:
    return Record(topic, key, value, [("item", b"0")])


async def test_what_is_acknowledged_is_there(kafka: KafkaSettings) -> None:
    async with Publisher.open(kafka, CLOCK) as publisher:
        records = [record(b"%d" % number, b"%d" % number) for number in range(300)]
        metadata = await publisher.publish(records)
        assert publisher.in_flight_bytes == 0
    async with kafka_clients.consumer(kafka, topics.RAW) as consumer:
        found: dict[tuple[int, int], tuple[bytes, bytes, list[tuple[str, bytes]]]] = {}
        while len(found) < len(records):
            one = await asyncio.wait_for(consumer.getone(), 10)
            found[one.partition, one.offset] = (one.key, one.value, list(one.headers))
    expected = {(at.partition, at.offset): (r.key, r.value, r.headers) for at, r in zip(metadata, records, strict=True)}
    assert found == expected


async def test_no_records_are_acknowledged_at_once(kafka: KafkaSettings) -> None:
    async with Publisher.open(kafka, CLOCK) as publisher:
        assert await publisher.publish([]) == []


async def test_a_tombstone_is_published(kafka: KafkaSettings) -> None:
    async with Publisher.open(kafka, CLOCK) as publisher:
        [at] = await publisher.publish([Record(topics.REGISTRY, b"device:29", None, [])])
        assert at.topic == topics.REGISTRY


async def test_the_largest_record_of_a_topic_goes_through_and_a_larger_one_is_told_apart(kafka: KafkaSettings) -> None:
    largest = load_limit(topics.RAW) - 1_000
    async with Publisher.open(kafka, CLOCK, deadline_seconds=10) as publisher:
        await publisher.publish([record(b"\xa5" * largest)])
        with pytest.raises(RecordTooLargeError, match="4194304"):
            await publisher.publish([record(), record(b"x" * (largest + 1_001))])
        assert publisher.unavailable() is None
        [at] = await publisher.publish([record()])
        assert at.offset == 1, "nothing of the refused call was sent"


def load_limit(topic: str) -> int:
    return topics.load_contracts()[topic].max_message_bytes


async def test_a_broker_that_takes_less_than_the_contract_refuses_one_record_and_the_next_goes_through(
    kafka: KafkaSettings,
) -> None:
    """The broker's refusal leaves a gap in the producer's sequence: from then on it would never send again."""
    admin = kafka_clients.admin_client(kafka)
    await admin.start()
    await admin.create_topics([NewTopic("small", 1, 1, topic_configs={"max.message.bytes": "1000"})])
    await admin.close()
    async with Publisher.open(kafka, CLOCK, deadline_seconds=10) as publisher:
        await publisher.publish([record(topic="small")])
        with pytest.raises(RecordTooLargeError):
            await publisher.publish([record(Random(1).randbytes(5_000), topic="small")])
        await eventually(lambda: publisher.unavailable() is None)
        [at] = await publisher.publish([record(topic="small")])
        assert at.offset == 1


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  looks from outside, there is nothing to be told by
            await asyncio.sleep(0.02)


async def test_bytes_in_flight_are_bounded(kafka: KafkaSettings) -> None:
    async with Publisher.open(kafka, CLOCK, max_in_flight_bytes=10_000) as publisher:
        calls = [publisher.publish([record(b"x" * 4_000)]) for _ in range(10)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        refused = [result for result in results if isinstance(result, PublishUnavailableError)]
        assert {result.reason for result in refused} == {"in_flight"}
        assert len(refused) == 8
        assert publisher.in_flight_bytes == 0
        assert publisher.unavailable() is None
        await publisher.publish([record(b"x" * 20_000)])  # alone it may be larger than the bound


async def test_a_caller_that_goes_away_leaves_nothing_in_flight(kafka: KafkaSettings) -> None:
    async with Publisher.open(kafka, CLOCK) as publisher:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await publisher.publish([record(b"x" * 100_000) for _ in range(30)])
        await eventually(lambda: publisher.in_flight_bytes == 0)
        await publisher.publish([record()])


async def test_a_closed_publisher_refuses_and_has_delivered(kafka: KafkaSettings) -> None:
    async with Publisher.open(kafka, CLOCK) as publisher:
        call = asyncio.create_task(publisher.publish([record()]))
        await asyncio.sleep(0)
    assert len(await call) == 1
    with pytest.raises(PublishUnavailableError) as refusal:
        await publisher.publish([record()])
    assert refusal.value.reason == "closed"


async def test_two_publishers_of_one_broker_do_not_disturb_each_other(kafka: KafkaSettings) -> None:
    async with Publisher.open(kafka, CLOCK) as one, Publisher.open(kafka, CLOCK) as other:
        for _ in range(3):
            await asyncio.gather(one.publish([record()]), other.publish([record()]))
    async with kafka_clients.consumer(kafka) as consumer:
        partitions = [TopicPartition(topics.RAW, number) for number in range(12)]
        assert sum((await consumer.end_offsets(partitions)).values()) == 6


async def test_metrics_count_what_went_and_what_did_not(kafka: KafkaSettings) -> None:
    collectors = CollectorRegistry()
    async with Publisher.open(kafka, CLOCK, collectors=collectors) as publisher:
        await publisher.publish([record(), record()])
        with pytest.raises(RecordTooLargeError):
            await publisher.publish([record(b"x" * 5_000_000)])
        value = collectors.get_sample_value
        assert value("metering_published_records_total", {"topic": topics.RAW}) == 2
        assert value("metering_publish_refused_total", {"reason": "too_large"}) == 1
        assert value("metering_publish_seconds_count") == 1
        assert value("metering_publish_in_flight_bytes") == 0
        assert value("metering_publish_unavailable") == 0
