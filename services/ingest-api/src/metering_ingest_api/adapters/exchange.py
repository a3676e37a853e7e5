"""Around every handler: request id, problems as answers, metrics by route template, one line of access log."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog
from aiohttp import web

from metering_common.http.problems import PROBLEM_JSON, Problem
from metering_common.http.request_headers import request_id
from metering_common.service.clock import Clock
from metering_common.service.tracing import trace_id
from metering_ingest_api.adapters.access_log import AccessLog
from metering_ingest_api.adapters.answer import CLIENT_WENT_AWAY, Answer
from metering_ingest_api.adapters.drain import Drain
from metering_ingest_api.adapters.paths import Answering
from metering_ingest_api.domain import request_headers
from metering_ingest_api.metrics import IngestMetrics

JSON = "application/json"

_encoder = msgspec.json.Encoder()

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Exchange:
    """One request and what is known about it so far. `received_at_ms` is stamped once, when its headers are read."""

    def __init__(self, request: web.BaseRequest, segment: str, clock: Clock) -> None:
        self.request = request
        self.segment = segment
        """The path's last one, decoded, where it varies."""
        self.received_at_ms = clock.now_ms()
        self.started = clock.monotonic()
        self.id = request_id(request.headers)
        self.traceparent = request_headers.traceparent(request.headers.get("traceparent"))
        self.event = "request.answered"
        self.waited_seconds = 0.0
        self.facts: dict[str, Any] = {}
        """Fields of the access log besides the usual ones; no tokens."""


Handler = Callable[[Exchange], Awaitable[Answer]]


class Exchanges:
    """Makes aiohttp handlers of ours."""

    def __init__(self, clock: Clock, metrics: IngestMetrics, access_log: AccessLog, drain: Drain) -> None:
        self._clock, self._metrics, self._access_log = clock, metrics, access_log
        self._drain = drain

    def around(self, route: str, handler: Handler) -> Answering:
        """`route` is the template that stands in metrics and logs."""

        async def handle(request: web.BaseRequest, segment: str) -> Answer:
            exchange = Exchange(request, segment, self._clock)
            self._drain.begin()
            try:
                answer = await self._answer(route, exchange, handler)
            finally:
                self._drain.end()
            answer.headers["X-Request-Id"] = exchange.id
            if self._drain.draining:
                answer.close()
            self._tell(route, exchange, answer)
            return answer

        return handle

    async def _answer(self, route: str, exchange: Exchange, handler: Handler) -> Answer:
        try:
            return await handler(exchange)
        except Problem as problem:
            return self._refuse(route, exchange, problem)
        except (ConnectionError, web.RequestPayloadError) as error:
            exchange.facts["error"] = repr(error)
            return Answer(CLIENT_WENT_AWAY, b"", {})
        except Exception:
            log.exception(
                "request.failed", request_id=exchange.id, trace_id=trace_id(exchange.traceparent), route=route
            )
            return self._refuse(route, exchange, Problem(500, "internal_error", "the request may be sent again"))

    def _refuse(self, route: str, exchange: Exchange, problem: Problem) -> Answer:
        self._metrics.problems.labels(route, problem.code).inc()
        exchange.facts["code"] = problem.code
        body = _encoder.encode(problem.document(exchange.id))
        return Answer(problem.status, body, {"Content-Type": PROBLEM_JSON, **problem.headers})

    def _tell(self, route: str, exchange: Exchange, answer: Answer) -> None:
        seconds = self._clock.monotonic() - exchange.started - exchange.waited_seconds
        method = _known_method(exchange.request.method)
        self._metrics.answered(method, route, answer.status, seconds)
        self._access_log.write(
            exchange.event,
            {
                "method": method,
                "route": route,
                "status": answer.status,
                "milliseconds": round(seconds * 1_000, 2),
                "request_id": exchange.id,
                **exchange.facts,
                **({} if exchange.traceparent is None else {"trace_id": trace_id(exchange.traceparent)}),
            },
        )


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, _encoder.encode(document), {"Content-Type": JSON, **(headers or {})})


def _known_method(method: str) -> str:
    """A label must not grow with what clients invent."""
    return method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
