"""A measure's trace: a span for its request at ingest-api, or for the poll that brought it, and for each stage behind,
when a collector is configured.

Nothing is imported or done without one. The request's `traceparent` travels unchanged through Kafka's headers, so what
a stage sends twice has the same bytes, and the spans of all stages are children of the request's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from threading import Thread
from typing import Protocol

import structlog

from metering_common.contract.metadata import RecordHeaders
from metering_common.service.settings import TracingSettings

FLUSH_SECONDS = 2.0
"""How long a stop waits for a collector that does not answer."""

_TRACE_ID = slice(3, 35)  # where a traceparent has it

Attributes = dict[str, str | int | float | bool]
StageTrace = Callable[[Iterable[RecordHeaders], float], None]
"""Told of the records that a stage has just finished, and of the seconds it took."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class RequestSpan(Protocol):
    """The span of one request."""

    @property
    def traceparent(self) -> str: ...

    def note(self, attributes: Attributes, *, failed: bool) -> None:
        """What became of the request."""
        ...


class Tracing(Protocol):
    """The spans of one service; see `metering_common.service.otlp`."""

    def request(self, name: str, traceparent: str | None, since_ms: int) -> AbstractContextManager[RequestSpan]:
        """From `since_ms` to the end of the block; a child of `traceparent`, or the beginning of a trace."""
        ...

    def work(self, name: str, attributes: Attributes) -> AbstractContextManager[str]:
        """A span around the block, which begins a trace; gives its `traceparent`. A block that raises has failed."""
        ...

    def stage(self, name: str, topic: str) -> StageTrace:
        """A span for each record of `topic` that belongs to a sampled trace."""
        ...

    def shutdown(self) -> None:
        """Sends what is left; blocks."""
        ...


def trace_id(traceparent: str | None) -> str | None:
    """For a log line: by what the trace is found at the collector."""
    return None if traceparent is None else traceparent[_TRACE_ID]


def trace_ids(headers: Iterable[RecordHeaders]) -> list[str]:
    """Of those records that belong to a trace, each once."""
    found = (one.traceparent for one in headers if one.traceparent is not None)
    return [traceparent[_TRACE_ID] for traceparent in dict.fromkeys(found)]


def no_trace(_headers: Iterable[RecordHeaders], _seconds: float) -> None:
    """The stage trace of a service without a collector."""


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


def stage_trace(tracing: Tracing | None, name: str, topic: str) -> StageTrace:
    """What a stage calls whether or not anything is traced."""
    return no_trace if tracing is None else tracing.stage(name, topic)


async def _end(tracing: Tracing) -> None:
    """In a thread of its own, since the library waits for up to half a minute and cannot be cancelled."""
    ending = Thread(target=tracing.shutdown, daemon=True)
    ending.start()
    await asyncio.to_thread(ending.join, FLUSH_SECONDS)
    if ending.is_alive():
        log.warning("tracing.not_flushed", seconds=FLUSH_SECONDS)
