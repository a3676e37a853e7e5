"""Opens and closes consumers: their `stop()` waits for Kafka, which may be away, so it is bounded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer

from metering_common.kafka import clients
from metering_common.service.settings import KafkaSettings

STOP_SECONDS = 2.0


@asynccontextmanager
async def open_consumer(settings: KafkaSettings, *topics: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer with the options of `clients.consumer`."""
    async with started(clients.consumer(settings, *topics, **options)) as consumer:
        yield consumer


@asynccontextmanager
async def started(consumer: AIOKafkaConsumer, stop_seconds: float = STOP_SECONDS) -> AsyncIterator[AIOKafkaConsumer]:
    """The consumer, started; also after a start that failed it is stopped, and not waited for longer than that."""
    try:
        await consumer.start()
        yield consumer
    finally:
        with suppress(TimeoutError):
            async with asyncio.timeout(stop_seconds):
                await consumer.stop()
