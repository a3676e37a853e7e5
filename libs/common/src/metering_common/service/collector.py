"""Opens a service's tracing where a collector is configured, and ends it in bounded time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Thread

import structlog

from metering_common.service.settings import TracingSettings
from metering_common.service.tracing import Tracing

FLUSH_SECONDS = 2.0
"""How long a stop waits for a collector that does not answer."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@asynccontextmanager
async def open_tracing(service: str, settings: TracingSettings) -> AsyncIterator[Tracing | None]:
    """None when no collector is configured."""
    if (endpoint := settings.traces_endpoint) is None:
        yield None
        return
    from metering_common.service.otlp import OtlpTracing  # noqa: PLC0415  half a second of import, for those who want traces

    tracing = OtlpTracing(service, endpoint)
    log.info("tracing.opened", endpoint=endpoint)
    try:
        yield tracing
    finally:
        await _end(tracing)


async def _end(tracing: Tracing) -> None:
    """In a thread of its own, since the library waits for up to half a minute and cannot be cancelled."""
    ending = Thread(target=tracing.shutdown, daemon=True)
    ending.start()
    await asyncio.to_thread(ending.join, FLUSH_SECONDS)
    if ending.is_alive():
        log.warning("tracing.not_flushed", seconds=FLUSH_SECONDS)
