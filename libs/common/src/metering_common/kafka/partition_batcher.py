"""What waits for one partition: one batch is on its way, and what comes meanwhile gathers in the next.

aiokafka's `send` makes a future, a hash in Python and two lists of all partitions per record; its own batches, filled
here and sent whole, need one future each.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from copy import copy
from functools import lru_cache
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata, TopicPartition

from metering_common.service.cancellation import is_asked_to_end

KEYS_REMEMBERED = 65_536

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Record(NamedTuple):
    """What goes to Kafka."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Call:
    """Records sent together; over when none of them waits any more, whoever still waits for that.

    `finished` ends with it, or before it with a TimeoutError after `wait_seconds`.
    """

    def __init__(self, size: int, records: int, ended: Callable[["Call"], None], wait_seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self.size = size
        self.finished: asyncio.Future[None] = loop.create_future()
        self._retry = loop.call_later(wait_seconds, self._give_up)
        self._standing: list[RecordMetadata | None] = [None] * records
        self._waiting = records
        self._error: KafkaError | None = None
        self._ended = ended

    def acknowledge(self, place: int, metadata: RecordMetadata) -> None:
        self._standing[place] = metadata
        self._one_less()

    def fail(self, error: KafkaError) -> None:
        """One of the records may not have landed."""
        self._error = self._error or error
        self._one_less()

    def result(self) -> list[RecordMetadata]:
        """Where each record stands; raises the first error of any."""
        if self._error is not None:
            raise copy(self._error)  # others raise it too, and each adds to its traceback
        return [metadata for metadata in self._standing if metadata is not None]

    def end(self) -> None:
        """None of its records waits any more, or none was sent."""
        self._retry.cancel()
        self._ended(self)

    def _one_less(self) -> None:
        self._waiting -= 1
        if self._waiting:
            return
        self.end()
        if not self.finished.done():
            self.finished.set_result(None)

    def _give_up(self) -> None:
        if not self.finished.done():
            self.finished.set_exception(TimeoutError())


class Batch:
    """Records of one partition, of any calls."""

    def __init__(self, builder: BatchBuilder) -> None:
        self.builder = builder
        self._parts: list[tuple[Call, int]] = []

    def append(self, record: Record, call: Call, place: int) -> bool:
        """False when the batch is full."""
        if self.builder.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
            return False
        self._parts.append((call, place))
        return True

    def acknowledge(self, first: RecordMetadata) -> int:
        """All records are in, from `first` on; how many."""
        topic, partition, place_of_all, offset, *times = first
        for number, (call, place) in enumerate(self._parts):
            call.acknowledge(place, RecordMetadata(topic, partition, place_of_all, offset + number, *times))
        return len(self._parts)

    def fail(self, error: KafkaError) -> None:
        for call, _ in self._parts:
            call.fail(error)


class PartitionBatcher:
    """One partition's batches, in order; `acknowledged` is told how many records of the topic are."""

    def __init__(self, client: AIOKafkaProducer, to: TopicPartition, acknowledged: Callable[[str, int], None]) -> None:
        self._client = client
        self._topic, self._partition = to
        self._acknowledged = acknowledged
        self._gathered: deque[Batch] = deque()
        self._sending: asyncio.Task[None] | None = None

    def add(self, record: Record, call: Call, place: int) -> None:
        """It leaves as soon as what is on its way has arrived."""
        if not self._gathered or not self._gathered[-1].append(record, call, place):
            self._gathered.append(Batch(self._client.create_batch()))
            self._gathered[-1].append(record, call, place)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._gathered:
            batch = self._gathered.popleft()
            try:
                sent = await self._client.send_batch(batch.builder, self._topic, partition=self._partition)
                first = await sent
            except KafkaError as error:
                batch.fail(error)
            except (Exception, asyncio.CancelledError) as error:  # every call must end, whatever the producer dies of
                batch.fail(KafkaError(repr(error)))
                if is_asked_to_end(error):
                    raise
                log.exception("batcher.failed", topic=self._topic, partition=self._partition)
            else:
                self._acknowledged(self._topic, batch.acknowledge(first))
        self._sending = None


@lru_cache(KEYS_REMEMBERED)
def partition_of(key: bytes, partitions: int) -> int:
    """As every Kafka client chooses it, so that all records of a key stand in one partition."""
    return int((murmur2(key) & 0x7FFF_FFFF) % partitions)


def any_partition(partitions: int) -> int:
    """For a record without a key."""
    return random.randrange(partitions)  # noqa: S311  not a secret
