"""Reads records from Kafka by position, for replay: `measurements.raw.v1` is the archive, the dead letters another."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from metering_common import kafka
from metering_common.headers import RecordPosition
from metering_common.settings import KafkaSettings
from metering_common.topics import REGISTRY

READ_SECONDS = 10.0


class Archive:
    """A consumer without a group, and an admin client that knows the topics' partitions."""

    def __init__(self, consumer: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._consumer, self._admin = consumer, admin

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings) -> AsyncIterator[Self]:
        consumer = kafka.consumer(settings, auto_offset_reset="none")
        admin = kafka.admin_client(settings)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(consumer.stop)
            await consumer.start()
            stack.push_async_callback(admin.close)
            await admin.start()
            yield cls(consumer, admin)

    async def read(self, position: RecordPosition) -> ConsumerRecord | None:
        """The record, or None when Kafka no longer has it."""
        asked = TopicPartition(position.topic, position.partition)
        if position.partition not in await self._partitions(position.topic):
            return None
        starts, ends = await self._consumer.beginning_offsets([asked]), await self._consumer.end_offsets([asked])
        if not starts[asked] <= position.offset < ends[asked]:
            return None
        self._consumer.assign([asked])
        self._consumer.seek(asked, position.offset)
        async with asyncio.timeout(READ_SECONDS):
            found = await self._consumer.getone(asked)
        return found if found.offset == position.offset else None

    async def read_all(self, topic: str) -> AsyncIterator[ConsumerRecord]:
        """Everything from the beginning to the end that is seen now."""
        asked = [TopicPartition(topic, number) for number in sorted(await self._partitions(topic))]
        starts, ends = await self._consumer.beginning_offsets(asked), await self._consumer.end_offsets(asked)
        for one in asked:
            if starts[one] < ends[one]:
                self._consumer.assign([one])
                self._consumer.seek(one, starts[one])
                async for record in self._until(one, ends[one]):
                    yield record

    async def registry_position(self) -> int:
        """Behind the newest change of the registry."""
        asked = TopicPartition(REGISTRY, 0)
        return int((await self._consumer.end_offsets([asked]))[asked])

    async def _until(self, asked: TopicPartition, end: int) -> AsyncIterator[ConsumerRecord]:
        while await self._consumer.position(asked) < end:
            async with asyncio.timeout(READ_SECONDS):
                yield await self._consumer.getone(asked)

    async def _partitions(self, topic: str) -> Collection[int]:
        (described,) = await self._admin.describe_topics([topic])
        return [one["partition"] for one in described["partitions"]]
