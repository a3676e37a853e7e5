"""One idempotent producer of a publisher: what it has in hand, and its end whatever state it is in."""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from metering_common import kafka
from metering_common.clock import Clock
from metering_common.settings import KafkaSettings

_START_SECONDS = 3.0
_ABANDON_SECONDS = 1.0


class Record(NamedTuple):
    """What goes to Kafka."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class _Call:
    """Records sent together; finished when none of them waits any more, whoever still waits for that."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.futures: list[asyncio.Future[RecordMetadata]] = []
        self.waiting = 1  # for the records, and for their being sent
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class OneProducer:
    """A started producer and the bytes it has in hand."""

    def __init__(self, producer: AIOKafkaProducer, clock: Clock, acknowledged: Callable[[str], None]) -> None:
        self.bytes = 0
        self._client = producer
        self._clock = clock
        self._acknowledged = acknowledged
        self._empty = asyncio.Event()
        self._started_at: dict[_Call, float] = {}
        """Calls in hand, oldest first."""

    @classmethod
    async def start(cls, settings: KafkaSettings, clock: Clock, acknowledged: Callable[[str], None]) -> Self | None:
        """None when Kafka does not answer: a start takes metadata and a producer id from it."""
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
        """Monotonic seconds; infinity when nothing is in hand."""
        return next(iter(self._started_at.values()), math.inf)

    async def send(self, records: Sequence[Record], size: int) -> list[RecordMetadata]:
        """Waits for all acknowledgements; `size` bytes are in hand until then, also when the caller goes away.

        The producer's own futures are never cancelled: that would not take a record back. `acknowledged` is called
        with the topic of each record that is.
        """
        call = _Call(size)
        self.bytes += size
        self._empty.clear()
        self._started_at[call] = self._clock.monotonic()
        try:
            for topic, key, value, headers in records:
                future = await self._client.send(topic, value, key, headers=headers)
                call.waiting += 1
                call.futures.append(future)
                future.add_done_callback(partial(self._settle, call, topic))
        finally:
            self._one_less(call)
        await call.finished
        return [future.result() for future in call.futures]

    def _settle(self, call: _Call, topic: str, future: asyncio.Future[RecordMetadata]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._acknowledged(topic)
        self._one_less(call)

    def _one_less(self, call: _Call) -> None:
        call.waiting -= 1
        if call.waiting:
            return
        del self._started_at[call]
        self.bytes -= call.size
        if not self._started_at:
            self._empty.set()
        if not call.finished.done():
            call.finished.set_result(None)

    async def end(self, patience_seconds: float) -> None:
        """What can still be acknowledged is waited for; the rest fails, and lets its bytes go."""
        if self._started_at:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_seconds):
                    await self._empty.wait()
        await _abandon(self._client)


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
