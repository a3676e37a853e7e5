"""Spans over OTLP/HTTP with opentelemetry-sdk; imported only where a collector is configured (see `tracing`)."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from metering_common.contract.metadata import RecordHeaders
from metering_common.service.tracing import Attributes, StageTrace

_FLAGS, _SAMPLED = slice(53, 55), 1  # where a traceparent has them, and the bit
_PROPAGATOR = TraceContextTextMapPropagator()


class OtlpTracing:
    """`tracing.Tracing`. Sampling, headers, authorities and batches are the SDK's own standard `OTEL_…` variables."""

    def __init__(self, service: str, endpoint: str) -> None:
        resource = Resource.create({"service.name": service, "service.namespace": "metering"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
        self._tracer = self._provider.get_tracer("metering")

    @contextmanager
    def request(self, name: str, traceparent: str | None, since_ms: int) -> Iterator["OtlpRequestSpan"]:
        started_ns = since_ms * 1_000_000
        span = self._tracer.start_span(name, _context(traceparent), SpanKind.SERVER, start_time=started_ns)
        try:
            yield OtlpRequestSpan(span)
        finally:
            span.end()

    @contextmanager
    def work(self, name: str, attributes: Attributes) -> Iterator[str]:
        working = self._tracer.start_as_current_span(name, Context(), attributes=attributes, record_exception=False)
        with working as span:
            yield _traceparent(span)

    def stage(self, name: str, topic: str) -> StageTrace:
        def tell(headers: Iterable[RecordHeaders], seconds: float) -> None:
            ended_ns = time.time_ns()
            for one in headers:
                if one.traceparent is not None and _is_sampled(one.traceparent):
                    self._tell(name, topic, one, ended_ns - round(seconds * 1e9), ended_ns)

        return tell

    def shutdown(self) -> None:
        self._provider.shutdown()

    def _tell(self, name: str, topic: str, headers: RecordHeaders, started_ns: int, ended_ns: int) -> None:
        attributes: Attributes = {
            "messaging.system": "kafka",
            "messaging.destination.name": topic,
            "metering.batch_id": str(headers.batch_id),
            "metering.item": headers.item,
            "metering.device_id": headers.device_id,
            "metering.source": headers.source,
        }
        context = _context(headers.traceparent)
        span = self._tracer.start_span(name, context, SpanKind.CONSUMER, attributes, start_time=started_ns)
        span.end(ended_ns)


class OtlpRequestSpan:
    """`tracing.RequestSpan`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        return _traceparent(self._span)

    def note(self, attributes: Attributes, *, failed: bool) -> None:
        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))


def _context(traceparent: str | None) -> Context:
    """Of its own: nothing is taken from what else runs in this process."""
    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return _PROPAGATOR.extract(carrier, Context())


def _traceparent(span: trace.Span) -> str:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier["traceparent"]


def _is_sampled(traceparent: str) -> bool:
    """What is no traceparent is not sampled: a header must not end a stage."""
    try:
        return bool(int(traceparent[_FLAGS], 16) & _SAMPLED)
    except ValueError:
        return False
