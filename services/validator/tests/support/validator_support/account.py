"""Counts from outside: what stands on the raw topic against what stands on the validated and the outcomes topic."""

import asyncio
import json
from collections import Counter
from random import Random
from typing import NamedTuple
from uuid import UUID

from aiokafka import ConsumerRecord, TopicPartition

from metering_common.contract import codec, topics
from metering_common.contract.metadata import RecordPosition, RegistryVersion, encode_headers
from metering_common.kafka import clients
from metering_common.kafka.publisher import Publisher, Record
from metering_common.service.settings import KafkaSettings
from validator_support.builders import EPOCH, NOW, RECEIVED_AT_MS, headers

DEVICES = 60


class Seen(NamedTuple):
    """What three topics hold."""

    raw: set[RecordPosition]
    validated: dict[RecordPosition, set[bytes]]
    """Different bytes per raw record."""
    validated_records: int
    outcomes: Counter[UUID]


async def publish_load(publisher: Publisher, count: int, seed: int, registry_position: int = 0) -> None:
    """`count` records of one small measure each, over all partitions; some of their values are refused."""
    random = Random(seed)
    records = [_record(random, seed * 1_000_000 + number, registry_position) for number in range(count)]
    for start in range(0, count, 500):
        await publisher.publish(records[start : start + 500])


def _record(random: Random, number: int, registry_position: int) -> Record:
    device = random.randrange(DEVICES)
    entries = [{"sensorName": name, "sensorValue": random.choice([1.5, 2, None])} for name in ("Corriente A", "Nadie")]
    element = {"deviceNumber": str(device), "measures": [{"timestamp": NOW - number % 50_000, "sensorValues": entries}]}
    batch_id = UUID(int=(RECEIVED_AT_MS << 80) | (0x7 << 76) | (0x2 << 62) | number)
    registry = RegistryVersion(EPOCH, registry_position)
    stamped = headers(batch_id=batch_id, device_id=device, registry=registry)
    return Record(topics.RAW, b"%d" % device, json.dumps(element).encode(), encode_headers(stamped))


async def look(settings: KafkaSettings) -> Seen:
    """Reads the three topics from their beginning to the end they have now."""
    raw, validated, outcomes = await asyncio.gather(
        *(_read_all(settings, topic) for topic in (topics.RAW, topics.VALIDATED, topics.OUTCOMES))
    )
    results: dict[RecordPosition, set[bytes]] = {}
    for record in validated:
        results.setdefault(codec.decode_validated(record.value).raw, set()).add(record.value)
    return Seen(
        raw={RecordPosition(record.topic, record.partition, record.offset) for record in raw},
        validated=results,
        validated_records=len(validated),
        outcomes=Counter(codec.decode_outcome(record.value).batch_id for record in outcomes),
    )


async def look_until_complete(settings: KafkaSettings, timeout_seconds: float = 120) -> Seen:
    """Waits until every raw record is validated and told; raises TimeoutError.

    The topics are read side by side: a result may be seen whose outcome came a moment after the other topic's reading.
    """
    async with asyncio.timeout(timeout_seconds):
        while True:
            seen = await look(settings)
            if seen.raw and seen.raw <= seen.validated.keys() and len(seen.outcomes) >= len(seen.raw):
                return seen
            await asyncio.sleep(0.2)


def check(seen: Seen, count: int) -> int:
    """Nothing is lost, and what is there twice has the same bytes. Gives how many are there twice."""
    assert len(seen.raw) == count
    assert seen.validated.keys() == seen.raw
    assert all(len(different) == 1 for different in seen.validated.values())
    assert len(seen.outcomes) == count
    return seen.validated_records - count


async def _read_all(settings: KafkaSettings, topic: str) -> list[ConsumerRecord]:
    contract = topics.load_contracts()[topic]
    partitions = [TopicPartition(topic, n) for n in range(contract.environments[settings.environment].partitions)]
    async with clients.consumer(settings, fetch_max_wait_ms=50) as consumer:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[ConsumerRecord] = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for found in (await consumer.getmany(timeout_ms=200)).values():
                records.extend(found)
    return records
