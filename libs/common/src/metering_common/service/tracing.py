"""A measure's trace: a span for its request at ingest-api, or for the poll that brought it, and for each stage behind,
when a collector is configured.

Nothing is imported or done without one. The request's `traceparent` travels unchanged through Kafka's headers, so what
a stage sends twice has the same bytes, and the spans of all stages are children of the request's.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Protocol

from metering_common.contract.metadata import RecordHeaders

_TRACE_ID = slice(3, 35)  # where a traceparent has it

Attributes = dict[str, str | int | float | bool]
StageTrace = Callable[[Iterable[RecordHeaders], float], None]
"""Told of the records that a stage has just finished, and of the seconds it took."""


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


def stage_trace(tracing: Tracing | None, name: str, topic: str) -> StageTrace:
    """What a stage calls whether or not anything is traced."""
    return no_trace if tracing is None else tracing.stage(name, topic)
