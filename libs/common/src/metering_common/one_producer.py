"""One idempotent producer of a publisher: what it has in hand, and its end whatever state it is in."""

import asyncio
import math
from contextlib import suppress
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata

from metering_common import kafka
from metering_common.settings import KafkaSettings

_START_SECONDS = 3.0
_ABANDON_SECONDS = 1.0


class OneProducer:
    """A started producer and the bytes it has in hand."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self.client = producer
        self.bytes = 0
        self.sent_at: dict[asyncio.Future[RecordMetadata], float] = {}
        """When each record that waits for its acknowledgement was sent, oldest first."""
        self._empty = asyncio.Event()

    @classmethod
    async def start(cls, settings: KafkaSettings) -> Self | None:
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
        return cls(producer)

    @property
    def oldest_sent_at(self) -> float:
        """Monotonic seconds; infinity when nothing waits."""
        return next(iter(self.sent_at.values()), math.inf)

    def take(self, size: int) -> None:
        """So many bytes more in hand, or fewer."""
        self.bytes += size
        if self.bytes:
            self._empty.clear()
        else:
            self._empty.set()

    async def end(self, patience_seconds: float) -> None:
        """What can still be acknowledged is waited for; the rest fails, and lets its bytes go."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds if self.bytes else 0):
                await self._empty.wait()
        await _abandon(self.client)


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
