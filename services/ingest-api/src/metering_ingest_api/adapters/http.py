"""The published paths: what a gateway calls, answered as contracts/openapi/input.yaml says."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

from aiohttp import web

from metering_common.http.bodies import BodyLimits
from metering_common.http.problems import Problem, unauthorized
from metering_common.http.request_headers import accepts_json
from metering_common.service.clock import Clock
from metering_ingest_api.adapters.answer import Answer
from metering_ingest_api.adapters.bodies import GatewayAccount, read_body
from metering_ingest_api.adapters.exchange import JSON, Exchange, Exchanges, Handler, json_response
from metering_ingest_api.adapters.paths import ANY, Paths
from metering_ingest_api.adapters.tracing import Trace, untraced
from metering_ingest_api.application import Batch, IngestService, Submission
from metering_ingest_api.domain import request_headers
from metering_ingest_api.domain.devices import no_such_device
from metering_ingest_api.domain.in_flight import InFlight, Lookups
from metering_ingest_api.domain.rates import GatewayRates
from metering_ingest_api.domain.tokens import Sender
from metering_ingest_api.metrics import IngestMetrics

BASE = "/api/v1"
ACCEPTED = b'{"success":true,"warnings":[]}'
MAX_ID_DIGITS = 18  # below 2^63


class Bounds(NamedTuple):
    """What a request may take of the pod."""

    body: BodyLimits
    rates: GatewayRates
    in_flight: InFlight


class Api:
    """Handlers of the published paths."""

    def __init__(
        self, ingest_api: IngestService, bounds: Bounds, definition: bytes, clock: Clock, metrics: IngestMetrics
    ) -> None:
        self._ingest_api, self._bounds, self._clock, self._metrics = ingest_api, bounds, clock, metrics
        self._definition = definition
        self._lookups = Lookups()

    def routes(self) -> dict[str, tuple[str, Handler]]:
        """Method and handler by path template."""
        return {
            f"{BASE}/devices/{{id}}": ("GET", self.device_by_id),
            f"{BASE}/devices/number/{{number}}": ("GET", self.device_by_number),
            f"{BASE}/server-time": ("GET", self.server_time),
            f"{BASE}/sensor-name-list": ("GET", self.sensor_name_list),
            f"{BASE}/spec": ("GET", self.spec),
            f"{BASE}/measurements": ("POST", self.measurements),
            f"{BASE}/measurements/batches/{{batchId}}": ("GET", self.batch),
        }

    async def device_by_id(self, exchange: Exchange) -> Answer:
        sender = await self._sender(exchange)
        text = exchange.segment
        if not (text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS):
            raise no_such_device()
        return json_response(await self._ingest_api.device_by_id(sender, int(text)))

    async def device_by_number(self, exchange: Exchange) -> Answer:
        sender = await self._sender(exchange)
        return json_response(await self._ingest_api.device_by_number(sender, exchange.segment))

    async def server_time(self, exchange: Exchange) -> Answer:
        """An NTP of the poor: never cached."""
        await self._sender(exchange)
        now_ms = self._clock.now_ms()
        moment = datetime.fromtimestamp(now_ms / 1_000, UTC).replace(microsecond=now_ms % 1_000 * 1_000)
        text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        document = {"timestamp": now_ms // 1_000, "datetime": text}
        return json_response(document, headers={"Cache-Control": "no-store"})

    async def sensor_name_list(self, exchange: Exchange) -> Answer:
        await self._sender(exchange)
        return json_response(self._ingest_api.dictionary())

    async def spec(self, exchange: Exchange) -> Answer:
        _check_accept(exchange)
        return Answer(200, self._definition, {"Content-Type": JSON})

    async def measurements(self, exchange: Exchange) -> Answer:
        sender = await self._sender(exchange)
        if not request_headers.is_json(exchange.request.headers.get("Content-Type")):
            raise Problem(415, "unsupported_media_type", f"{JSON} in UTF-8 is taken", headers={"Accept": JSON})
        with self._account(sender) as account:
            return await self._take_in(exchange, sender, account)

    @contextmanager
    def _account(self, sender: Sender) -> Iterator[GatewayAccount]:
        """A place among the gateway's requests in flight; raises a 429 or 503 `Problem`."""
        share = self._bounds.in_flight.open(sender.gateway)
        try:
            yield GatewayAccount(sender.gateway, share, self._bounds.rates, self._clock)
        finally:
            share.let_go()

    async def _take_in(self, exchange: Exchange, sender: Sender, account: GatewayAccount) -> Answer:
        body = await read_body(exchange.request, self._bounds.body, account)
        body_read_at = self._clock.monotonic()
        self._metrics.body_bytes.inc(len(body))
        exchange.facts["bytes"] = len(body)
        submission = Submission(sender, body, exchange.received_at_ms, exchange.traceparent)
        batch = await self._ingest_api.prepare(submission, account)
        batch_id = str(batch.id)
        headers = {"Content-Type": JSON, "Location": f"{BASE}/measurements/batches/{batch_id}"}
        response = await self._enqueue(exchange, batch, body_read_at, headers)
        self._count(len(batch.records), batch.measures, account.values)
        exchange.event = "batch.enqueued"
        exchange.facts |= {"batch_id": batch_id, "records": len(batch.records), "measures": batch.measures}
        return response

    async def _enqueue(self, exchange: Exchange, batch: Batch, body_read_at: float, headers: dict[str, str]) -> Answer:
        if not (seconds := request_headers.wait_seconds(exchange.request.headers.getall("Prefer", ()))):
            await self._ingest_api.enqueue(batch, body_read_at)
            return Answer(201, ACCEPTED, headers)
        wait = await self._ingest_api.enqueue_and_wait(batch, body_read_at, seconds)
        exchange.waited_seconds = wait.seconds
        self._metrics.waits.labels(wait.end).inc()
        if wait.end != "not_watched":
            headers["Preference-Applied"] = f"wait={seconds}"
        return json_response({"success": True, "warnings": wait.findings}, 201, headers)

    async def batch(self, exchange: Exchange) -> Answer:
        sender = await self._sender(exchange)
        with self._lookups.one(sender.gateway), self._account(sender) as account:
            document = await self._ingest_api.result(sender, exchange.segment, account)
        return json_response(document, headers={"Cache-Control": "no-store"})

    def _count(self, records: int, measures: int, values: int) -> None:
        self._metrics.records.inc(records)
        self._metrics.measures.inc(measures)
        self._metrics.values.inc(values)

    async def _sender(self, exchange: Exchange) -> Sender:
        """Who asks; the cheap checks that every authenticated path shares come along."""
        token = _bearer_token(exchange.request)
        sender = await self._ingest_api.authenticate(token)
        exchange.facts |= {"provider": sender.provider, "gateway": sender.gateway}
        _check_accept(exchange)
        self._bounds.rates.take_request(sender.gateway, self._clock.monotonic())
        return sender


def published(api: Api, exchanges: Exchanges, trace: Trace = untraced) -> Paths:
    """All paths, with their own 404 and 405, so that those too are problems, counted and logged."""
    paths = Paths(exchanges.around("unknown", _not_found))
    for template, (method, handler) in api.routes().items():
        answer = exchanges.around(template, trace(f"{method} {template}", handler))
        methods = {method: answer, "HEAD": answer} if method == "GET" else {method: answer}
        paths.add(template, methods | {ANY: exchanges.around(template, _not_allowed(method))})
    return paths


def _not_allowed(method: str) -> Handler:
    allow = "GET, HEAD" if method == "GET" else method

    async def refuse(_exchange: Exchange) -> Answer:
        raise Problem(405, "method_not_allowed", f"this path takes {allow}", headers={"Allow": allow})

    return refuse


async def _not_found(_exchange: Exchange) -> Answer:
    raise Problem(404, "path_unknown", f"the published paths stand in {BASE}/spec")


def _bearer_token(request: web.BaseRequest) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise unauthorized("token_missing", "send Authorization: Bearer and an access token")
    return token.strip()


def _check_accept(exchange: Exchange) -> None:
    if not accepts_json(exchange.request.headers.get("Accept")):
        raise Problem(406, "not_acceptable", f"{JSON} is offered")
