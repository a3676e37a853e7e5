"""The poller with everything round it, for its tests: a registry on Kafka, a book in PostgreSQL, the emulated portal."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from metering_common import kafka as kafka_clients
from metering_common import topics
from metering_common.headers import RecordHeaders, decode_headers
from metering_common.registry_documents import (
    Device,
    Meta,
    Provider,
    RegistryDocument,
    Sensor,
    document_key,
    encode_document,
)
from metering_common.settings import KafkaSettings
from tests.emulators.ecl_portal.virtual_clock import VirtualClock

SENSORS = Path(__file__).parents[3] / "data" / "ecl_sensors.json"
PROVIDER = 7
Key = tuple[int, str, int]
"""Platform device, sensor name, Unix seconds."""


@dataclass(frozen=True)
class Arrived:
    """One record of measurements.raw.v1."""

    headers: RecordHeaders
    element: dict[str, Any]

    def values(self) -> dict[Key, Any]:
        return {
            (self.headers.device_id, value["sensorName"], measure["timestamp"]): value["sensorValue"]
            for measure in self.element["measures"]
            for value in measure["sensorValues"]
        }


class PortalTime:
    """The emulator's virtual time as the poller's clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def monotonic(self) -> float:
        return time.monotonic()


async def publish_registry(settings: KafkaSettings, device_numbers: Sequence[str]) -> dict[str, int]:
    """A registry of one provider with these devices, each with the whole heat dictionary; gives the devices' ids."""
    entries = json.loads(SENSORS.read_text())
    sensors = [Sensor(id=number, position=number, **entry) for number, entry in enumerate(entries, start=1)]
    ids = {number: 100 + place for place, number in enumerate(device_numbers)}
    listed = tuple(sensor.id for sensor in sensors)
    documents: list[RegistryDocument] = [
        Meta(epoch="6f1c2c7e-6a0f-4b7e-9a52-0d5f1f3a9b11", created_at=1),
        Provider(id=PROVIDER, name="Varme ApS"),
        *sensors,
        *(Device(id=ids[number], provider=PROVIDER, number=number, sensors=listed) for number in device_numbers),
    ]
    await publish_documents(settings, documents)
    return ids


async def publish_documents(settings: KafkaSettings, documents: Sequence[RegistryDocument]) -> None:
    producer = kafka_clients.producer(settings)
    await producer.start()
    try:
        for document in documents:
            key, value = document_key(document).encode(), encode_document(document)
            await producer.send_and_wait(topics.REGISTRY, value, key)
    finally:
        await producer.stop()


async def read_all(settings: KafkaSettings, topic: str) -> list[Any]:
    """Every record that stands on the topic now."""
    consumer = kafka_clients.consumer(settings)
    await consumer.start()
    try:
        count = topics.load_contracts()[topic].environments[settings.environment].partitions
        partitions = [TopicPartition(topic, number) for number in range(count)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[Any] = []
        for partition, end in ends.items():
            while await consumer.position(partition) < end:
                records = await consumer.getmany(partition, timeout_ms=500)
                found += records.get(partition, [])
        return found
    finally:
        await consumer.stop()


async def read_raw(settings: KafkaSettings) -> list[Arrived]:
    records = await read_all(settings, topics.RAW)
    return [Arrived(decode_headers(list(record.headers)), json.loads(record.value)) for record in records]


def stored(records: Sequence[Arrived]) -> dict[Key, Any]:
    """What the writer makes of them: per key the value of the highest rev, whatever the order of arrival."""
    newest: dict[Key, tuple[int, Any]] = {}
    for record in records:
        for key, value in record.values().items():
            if key not in newest or record.headers.rev > newest[key][0]:
                newest[key] = (record.headers.rev, value)
    return {key: value for key, (_, value) in newest.items()}
