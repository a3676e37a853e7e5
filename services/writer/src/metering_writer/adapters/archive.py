"""Reads records from Kafka by position, for replay: `measurements.raw.v1` is the archive, the dead letters another."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import OffsetOutOfRangeError

from metering_common.contract.metadata import RecordPosition
from metering_common.contract.topics import REGISTRY, open_admin
from metering_common.kafka.consumers import open_consumer
from metering_common.service.settings import KafkaSettings

READ_SECONDS = 10.0
FETCH_BYTES = 64 * 1024  # a device's records lie far apart: little is fetched around each; a larger one still comes


class Archive:
    """A consumer without a group, and an admin client that knows the topics' partitions."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._consumer, self._admin = consumer, admin
        self._bounds: dict[TopicPartition, range] = {}
        self._next: tuple[TopicPartition, int] | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings) -> AsyncIterator[Self]:
        options = {"auto_offset_reset": "none", "max_partition_fetch_bytes": FETCH_BYTES}
        async with open_consumer(settings, **options) as consumer, open_admin(settings) as admin:
            yield cls(consumer, admin)

    async def read(self, position: RecordPosition) -> ConsumerRecord | None:
        """The record, or None when Kafka no longer has it."""
        asked = TopicPartition(position.topic, position.partition)
        if asked not in self._bounds:
            self._bounds[asked] = await self._ask_bounds(asked)
        if position.offset not in self._bounds[asked]:
            return None
        self._go_to(asked, position.offset)
        try:
            async with asyncio.timeout(READ_SECONDS):
                found = await self._consumer.getone(asked)
        except OffsetOutOfRangeError:  # deleted since the bounds were asked for
            return None
        self._next = asked, found.offset + 1
        return found if found.offset == position.offset else None

    async def read_all(self, topic: str) -> AsyncIterator[ConsumerRecord]:
        """Everything from the beginning to the end that is seen now."""
        asked = [TopicPartition(topic, number) for number in sorted(await self._partitions(topic))]
        starts, ends = await self._consumer.beginning_offsets(asked), await self._consumer.end_offsets(asked)
        for one in asked:
            if starts[one] < ends[one]:
                self._go_to(one, starts[one])
                async for record in self._until(one, ends[one]):
                    yield record

    async def registry_position(self) -> int:
        """Behind the newest change of the registry."""
        asked = TopicPartition(REGISTRY, 0)
        return int((await self._consumer.end_offsets([asked]))[asked])

    async def _ask_bounds(self, asked: TopicPartition) -> range:
        """Offsets that Kafka has; none of a partition that does not exist."""
        if asked.partition not in await self._partitions(asked.topic):
            return range(0)
        starts, ends = await self._consumer.beginning_offsets([asked]), await self._consumer.end_offsets([asked])
        return range(starts[asked], ends[asked])

    def _go_to(self, asked: TopicPartition, offset: int) -> None:
        """Neighbours are read on without asking Kafka again."""
        if self._next != (asked, offset):
            self._consumer.assign([asked])
            self._consumer.seek(asked, offset)
        self._next = None

    async def _until(self, asked: TopicPartition, end: int) -> AsyncIterator[ConsumerRecord]:
        while await self._consumer.position(asked) < end:
            async with asyncio.timeout(READ_SECONDS):
                yield await self._consumer.getone(asked)

    async def _partitions(self, topic: str) -> Collection[int]:
        (described,) = await self._admin.describe_topics([topic])
        return [one["partition"] for one in described["partitions"]]
