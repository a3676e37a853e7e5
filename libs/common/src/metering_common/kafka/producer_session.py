"""One idempotent producer of a publisher: what it has in flight, and its end whatever state it is in."""

import asyncio
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from copy import copy
from typing import NamedTuple, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from metering_common.kafka import clients as kafka
from metering_common.service.cancellation import is_asked_to_end
from metering_common.service.clock import Clock
from metering_common.service.settings import KafkaSettings

_START_SECONDS = 3.0
_ABANDON_SECONDS = 1.0

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Record(NamedTuple):
    """What goes to Kafka."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None
    """By the key, or any without one, when it is not chosen."""


class ProducerSession:
    """A started producer and the bytes it has in flight."""

    def __init__(self, producer: AIOKafkaProducer, clock: Clock, acknowledged: Callable[[str], None]) -> None:
        self.bytes = 0
        self._client = producer
        self._clock = clock
        self._acknowledged = acknowledged
        self._started_at: dict[asyncio.Task[None], float] = {}
        """Calls in flight, oldest first."""

    @classmethod
    async def start(cls, settings: KafkaSettings, clock: Clock, acknowledged: Callable[[str], None]) -> Self | None:
        """None when Kafka does not answer: a start takes metadata and a producer id from it.

        `acknowledged` is called with the topic of each record that is in.
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

    async def partitions(self, topic: str) -> int:
        """Their number; waits where it is not known yet."""
        return len(await self._client.partitions_for(topic))

    async def send(self, records: Sequence[Record], size: int, wait_seconds: float) -> None:
        """Waits for all acknowledgements; `size` bytes are in flight until then, also when the caller goes away.

        Nothing that was sent is taken back when the caller is cancelled, or gets its TimeoutError after
        `wait_seconds`. Raises the first error of any record.
        """
        if not records:
            return
        call = asyncio.create_task(self._send_all(records))
        self.bytes += size
        self._started_at[call] = self._clock.monotonic()
        call.add_done_callback(lambda ended: self._ended(ended, size))
        if not (await asyncio.wait({call}, timeout=wait_seconds))[0]:
            raise TimeoutError
        if call.cancelled():
            raise KafkaError("the producer was given up")
        if (error := call.exception()) is not None:
            raise copy(error)  # it is kept by the call, and each that raises it adds to its traceback

    async def _send_all(self, records: Sequence[Record]) -> None:
        """Every record is tried, whatever became of those before it."""
        sent = [
            await self._client.send(
                record.topic, record.value, key=record.key, partition=record.partition, headers=record.headers
            )
            for record in records
        ]
        first_error: KafkaError | None = None
        for record, future in zip(records, sent, strict=True):
            try:
                await future
            except KafkaError as error:
                first_error = first_error or error
            except (Exception, asyncio.CancelledError) as error:  # the call must end, whatever the producer dies of
                if is_asked_to_end(error):
                    raise
                log.exception("producer.failed", topic=record.topic)
                first_error = first_error or KafkaError(repr(error))
            else:
                self._acknowledged(record.topic)
        if first_error is not None:
            raise first_error

    def _ended(self, call: asyncio.Task[None], size: int) -> None:
        del self._started_at[call]
        self.bytes -= size
        if not call.cancelled():
            call.exception()  # somebody has looked, also when the caller is gone

    async def end(self, wait_seconds: float) -> None:
        """What can still be acknowledged is waited for; the rest fails, and lets its bytes go."""
        if self._started_at:
            await asyncio.wait(set(self._started_at), timeout=wait_seconds)
        await _abandon(self._client)
        for call in self._started_at:
            call.cancel()


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
