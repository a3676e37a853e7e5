"""One idempotent producer of a publisher: what it has in flight, and its end whatever state it is in."""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata, TopicPartition

from metering_common.kafka import clients as kafka
from metering_common.kafka.partition_batcher import Call, PartitionBatcher, Record, any_partition, partition_of
from metering_common.service.clock import Clock
from metering_common.service.settings import KafkaSettings

_START_SECONDS = 3.0
_ABANDON_SECONDS = 1.0


class ProducerSession:
    """A started producer and the bytes it has in flight."""

    def __init__(self, producer: AIOKafkaProducer, clock: Clock, acknowledged: Callable[[str, int], None]) -> None:
        self.bytes = 0
        self._client = producer
        self._clock = clock
        self._acknowledged = acknowledged
        self._empty = asyncio.Event()
        self._started_at: dict[Call, float] = {}
        """Calls in flight, oldest first."""
        self._batchers: dict[TopicPartition, PartitionBatcher] = {}

    @classmethod
    async def start(
        cls, settings: KafkaSettings, clock: Clock, acknowledged: Callable[[str, int], None]
    ) -> Self | None:
        """None when Kafka does not answer: a start takes metadata and a producer id from it.

        `acknowledged` is called with a topic and how many of its records are in.
        """
        producer = kafka.producer(settings)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await producer.start()
        except (KafkaError, OSError, TimeoutError):
            await _abandon(producer)
            return None
        except asyncio.CancelledError:
            await _abandon(producer)
            raise
        return cls(producer, clock, acknowledged)

    @property
    def oldest_sent_at(self) -> float:
        """Monotonic seconds; infinity when nothing is in flight."""
        return next(iter(self._started_at.values()), math.inf)

    async def send(self, records: Sequence[Record], size: int, wait_seconds: float) -> list[RecordMetadata]:
        """Waits for all acknowledgements; `size` bytes are in flight until then, also when the caller goes away.

        Nothing that was sent is taken back when the caller is cancelled, or gets its TimeoutError after
        `wait_seconds`. Raises the first error of any record.
        """
        if not records:
            return []
        call = Call(size, len(records), self._ended, wait_seconds)
        self.bytes += size
        self._empty.clear()
        self._started_at[call] = self._clock.monotonic()
        try:
            batchers = [self._batcher_of(record) or await self._new_batcher(record, wait_seconds) for record in records]
        except BaseException:
            call.end()
            raise
        for place, (batcher, record) in enumerate(zip(batchers, records, strict=True)):
            batcher.add(record, call, place)
        await call.finished
        return call.result()

    def _batcher_of(self, record: Record) -> PartitionBatcher | None:
        """None for a partition that nothing was sent to yet."""
        known = self._client.client.cluster.partitions_for_topic(record.topic)
        return self._batchers.get(_place(record, len(known))) if known else None

    async def _new_batcher(self, record: Record, wait_seconds: float) -> PartitionBatcher:
        """Waits where the topic's partitions are not known yet."""
        async with asyncio.timeout(wait_seconds):
            place = _place(record, len(await self._client.partitions_for(record.topic)))
        return self._batchers.setdefault(place, PartitionBatcher(self._client, place, self._acknowledged))

    def _ended(self, call: Call) -> None:
        del self._started_at[call]
        self.bytes -= call.size
        if not self._started_at:
            self._empty.set()

    async def end(self, wait_seconds: float) -> None:
        """What can still be acknowledged is waited for; the rest fails, and lets its bytes go."""
        if self._started_at:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._empty.wait()
        await _abandon(self._client)


def _place(record: Record, partitions: int) -> TopicPartition:
    number = any_partition(partitions) if record.key is None else partition_of(record.key, partitions)
    return TopicPartition(record.topic, number)


async def _abandon(producer: AIOKafkaProducer) -> None:
    """Ends a producer whatever state it is in: its own `stop()` waits for acknowledgements that never come.

    There is no public way to fail what waits: the connections are closed, the sender ended, the batches failed.
    """
    accumulator, sender = producer._message_accumulator, producer._sender  # noqa: SLF001  see the docstring
    with suppress(Exception):
        async with asyncio.timeout(_ABANDON_SECONDS):
            await producer.client.close()
            await sender.close()
    accumulator.fail_all(KafkaError("the producer was given up"))
    with suppress(Exception):
        async with asyncio.timeout(_ABANDON_SECONDS):
            await producer.stop()
