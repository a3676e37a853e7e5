"""At ingest-api a measure's trace begins, or goes on: the span of a request, whose `traceparent` its records carry."""

from collections.abc import Callable
from http import HTTPStatus

from metering_common.http.problems import Problem
from metering_common.service.tracing import Attributes, RequestSpan, Tracing
from metering_ingest_api.adapters.answer import Answer
from metering_ingest_api.adapters.exchange import Exchange, Handler

Trace = Callable[[str, Handler], Handler]
"""Puts a span of this name around a handler."""


def untraced(_name: str, handler: Handler) -> Handler:
    """Without a collector a request takes no other way than before."""
    return handler


def traced_by(tracing: Tracing | None) -> Trace:
    """For `http.published`."""
    if tracing is None:
        return untraced

    def trace(name: str, handler: Handler) -> Handler:
        async def answer(exchange: Exchange) -> Answer:
            with tracing.request(name, exchange.traceparent, exchange.received_at_ms) as span:
                exchange.traceparent = span.traceparent
                return await _noted(span, exchange, handler)

        return answer

    return trace


async def _noted(span: RequestSpan, exchange: Exchange, handler: Handler) -> Answer:
    status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
    try:
        response = await handler(exchange)
        status = response.status
    except Problem as problem:
        status = problem.status
        raise
    finally:
        facts: Attributes = {f"metering.{name}": value for name, value in exchange.facts.items()}
        about: Attributes = {"http.response.status_code": status, "metering.request_id": exchange.id}
        span.note(about | facts, failed=status >= HTTPStatus.INTERNAL_SERVER_ERROR)
    return response
