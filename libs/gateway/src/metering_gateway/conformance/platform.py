"""The published API on a free port of this machine, in memory: counts what arrives, fails as it is told to."""

import asyncio
import json
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from metering_gateway.conformance.faults import Fault, Faults, no_faults
from metering_gateway.conformance.token_family import TokenFamily

_LANDING = frozenset({Fault.NONE, Fault.UNAVAILABLE_LANDED, Fault.CUT_LANDED, Fault.SLOW})
_MAX_MEASURES, _SPAN = 100, 86_400
_CODE = "X-Problem-Code"  # for our own record of the calls
Key = tuple[str, int, str]


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


MeasureKey = tuple[str, int, tuple[str, ...]]
"""Device, timestamp and the sensors of a measure."""


@dataclass(slots=True)
class Call:
    """One request as the platform saw it; `began` and `ended` in seconds of a steady clock.

    `keys`: (device, timestamp) of each measure in it. `code`: of the problem that was answered.
    """

    path: str
    began: float
    content_type: str = ""
    fault: Fault = Fault.NONE
    keys: tuple[MeasureKey, ...] = ()
    status: int = 0
    code: str = ""
    ended: float = 0.0
    cut_by_client: bool = False


_CALL: web.RequestKey[Call] = web.RequestKey("call", Call)


class Platform:
    """`arrivals`: every value that was taken, per (device, timestamp, sensor), in the order of its arrival.

    `devices`: the numbers that are registered, None for all. `poison`: a measure of these (device, timestamp) is
    answered by 422. `refused_sensors`: which sensor is refused by which rule, value by value. A result is pending for
    `pending_polls` more questions. `statuses` counts the answers of POST /measurements, `concurrent` the most at one
    time. A request of more measures than `times_out_above` is answered by 408. `on_call` is told the path of each
    request as it arrives.
    """

    def __init__(
        self,
        *,
        devices: Collection[str] | None = None,
        poison: Collection[tuple[str, int]] = (),
        max_body_bytes: int = 1 << 20,
        faults: Faults = no_faults,
        refresh_faults: Faults = no_faults,
        time_faults: Faults = no_faults,
        access_seconds: int = 10_800,
        now_ms: Callable[[], int] = wall_ms,
        retry_after_seconds: int = 0,
        slow_seconds: float = 0.05,
    ) -> None:
        self.url = ""
        self.devices = devices
        self.poison = poison
        self.faults = faults
        self.refresh_faults = refresh_faults
        self.time_faults = time_faults
        self.family = TokenFamily(access_seconds)
        self.arrivals: dict[Key, list[Any]] = defaultdict(list)
        self.requests: list[list[dict[str, Any]]] = []
        self.warnings: list[dict[str, Any]] = []
        self.batches: dict[str, Counter[str]] = {}
        self.refused_sensors: dict[str, str] = {}
        self.pending_polls = 0
        self.forgets_batches = False
        self.times_out_above: int | None = None
        self.statuses: Counter[int] = Counter()
        self.prefers: list[str] = []
        self.concurrent = 0
        self.on_call: Callable[[str], object] = lambda _: None
        self.calls: list[Call] = []
        self._retry_after = {"Retry-After": str(retry_after_seconds)}
        self._slow_seconds = slow_seconds
        self._under_way = 0
        self._max_body_bytes = max_body_bytes
        self._now_ms = now_ms

    def issued_refresh_token(self) -> str:
        """What the operator of the platform issues for a new gateway."""
        return self.family.issue(self._now())

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20, middlewares=[self._announce])
        app.router.add_post("/api/v1/auth/token/refresh", self._refresh)
        app.router.add_get("/api/v1/server-time", self._server_time)
        app.router.add_get("/api/v1/devices/number/{number}", self._device)
        app.router.add_post("/api/v1/measurements", self._measurements)
        app.router.add_get("/api/v1/measurements/batches/{batch}", self._result)
        return app

    @web.middleware
    async def _announce(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.on_call(request.path)
        call = request[_CALL] = Call(request.path, time.monotonic(), request.headers.get("Content-Type", ""))
        self.calls.append(call)
        try:
            answer = await handler(request)
        except asyncio.CancelledError:
            call.cut_by_client = True
            raise
        finally:
            call.ended = time.monotonic()
        call.status = answer.status
        call.code = answer.headers.get(_CODE, "")
        return answer

    async def _refresh(self, request: web.Request) -> web.StreamResponse:
        fault = request[_CALL].fault = self.refresh_faults()
        token = (await request.json())["refreshToken"]
        pair = self.family.rotate(token, self._now()) if fault in _LANDING else None
        if fault is not Fault.NONE:
            return _failed(request, fault)
        if pair is None:
            return _problem(401, "token_invalid", "this refresh token is no longer good")
        return web.json_response({"accessToken": pair[0], "refreshToken": pair[1]})

    async def _server_time(self, request: web.Request) -> web.StreamResponse:
        if not self._authorised(request):
            return _problem(401, "token_expired", "the token has expired")
        fault = self.time_faults()
        if fault is not Fault.NONE:
            return _failed(request, fault)
        now = self._now_ms()
        moment = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return web.json_response({"timestamp": now // 1000, "datetime": moment})

    async def _device(self, request: web.Request) -> web.StreamResponse:
        number = request.match_info["number"]
        if not self._authorised(request):
            return _problem(401, "token_expired", "the token has expired")
        if self.devices is not None and number not in self.devices:
            return _problem(404, "device_unknown", "this provider has no such device")
        return web.json_response({"id": 29, "number": number, "sensors": [{"name": "Corriente A", "unit": "A"}]})

    async def _measurements(self, request: web.Request) -> web.StreamResponse:
        self._under_way += 1
        self.concurrent = max(self.concurrent, self._under_way)
        try:
            await asyncio.sleep(0.002)
            answer = await self._validate(request)
        finally:
            self._under_way -= 1
        self.statuses[answer.status] += 1
        return answer

    async def _validate(self, request: web.Request) -> web.StreamResponse:
        self.prefers.append(request.headers.get("Prefer", ""))
        fault = request[_CALL].fault = self.faults()
        if fault is Fault.EXPIRED:
            self.family.withdraw_access()
        if not self._authorised(request):
            return _problem(401, "token_expired", "the token has expired")
        body = await request.read()
        request[_CALL].keys = _keys(body)
        if self.times_out_above is not None and body.count(b'"timestamp"') > self.times_out_above:
            return _failed(request, Fault.TIMEOUT)
        refusal = self._refusal(body)
        if refusal is None and fault in _LANDING:
            self._take(json.loads(body))
        if fault is Fault.SLOW:
            await asyncio.sleep(self._slow_seconds)
        elif fault is not Fault.NONE:
            return _failed(request, fault, self._retry_after)
        location = {"Location": f"/api/v1/measurements/batches/{len(self.requests)}"}
        document = {"success": True, "warnings": self.warnings}
        return refusal or web.json_response(document, status=201, headers=location)

    def _refusal(self, body: bytes) -> web.Response | None:
        if len(body) > self._max_body_bytes:
            return _problem(413, "body_too_large", f"at most {self._max_body_bytes} bytes")
        elements = json.loads(body)
        unknown = [
            i for i, e in enumerate(elements) if self.devices is not None and e["deviceNumber"] not in self.devices
        ]
        if unknown:
            errors = [{"pointer": f"/{i}/deviceNumber", "detail": "this provider has no such device"} for i in unknown]
            return _problem(422, "devices_unknown", "devices that are not registered", errors)
        measures = [(e["deviceNumber"], m["timestamp"]) for e in elements for m in e["measures"]]
        times = [at for _, at in measures if at < 10**11]
        if not measures or len(measures) > _MAX_MEASURES or (times and max(times) - min(times) > _SPAN):
            return _problem(422, "span_too_long", "1 to 100 measures within a day")
        if any(measure in self.poison for measure in measures):
            return _problem(422, "wrong_shape", "a measure is at fault")
        return None

    def _take(self, elements: list[dict[str, Any]]) -> None:
        self.requests.append(elements)
        counts = self.batches[str(len(self.requests))] = Counter[str]()
        for element in elements:
            for measure in element["measures"]:
                for value in measure["sensorValues"]:
                    key = (element["deviceNumber"], measure["timestamp"], value["sensorName"])
                    self.arrivals[key].append(value["sensorValue"])
                    counts[self.refused_sensors.get(value["sensorName"], "")] += 1

    async def _result(self, request: web.Request) -> web.StreamResponse:
        if not self._authorised(request):
            return _problem(401, "token_expired", "the token has expired")
        counts = self.batches.get(request.match_info["batch"])
        if counts is None or self.forgets_batches:
            return _problem(404, "batch_unknown", "there is no such batch")
        self.pending_polls -= 1
        per_rule = {rule: count for rule, count in counts.items() if rule}
        accepted = {"accepted": counts[""], "refused": counts.total() - counts[""], "notTaken": 0, "repeated": 0}
        status = "validated" if self.pending_polls < 0 else "pending"
        return web.json_response({"status": status, "counts": accepted, "refusedPerRule": per_rule, "refusals": []})

    def _authorised(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and self.family.good(token, self._now())

    def _now(self) -> int:
        return self._now_ms() // 1000


@asynccontextmanager
async def running(platform: Platform, port: int = 0) -> AsyncIterator[Platform]:
    """Serves it on a port of 127.0.0.1, a free one by default; its `url` is set."""
    runner = web.AppRunner(platform.application(), access_log=None, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    host, port = runner.addresses[0][:2]
    platform.url = f"http://{host}:{port}"
    try:
        yield platform
    finally:
        await runner.cleanup()


def _keys(body: bytes) -> tuple[MeasureKey, ...]:
    """(device, timestamp, sensors) of each measure; none of what is not the published JSON."""
    try:
        return tuple(
            (element["deviceNumber"], measure["timestamp"], tuple(one["sensorName"] for one in measure["sensorValues"]))
            for element in json.loads(body)
            for measure in element["measures"]
        )
    except (ValueError, KeyError, TypeError):
        return ()


_NO_WAIT = {"Retry-After": "0"}
_PAGES = {Fault.BAD_GATEWAY: 502, Fault.FORBIDDEN_BY_PROXY: 403, Fault.CAPTIVE_PORTAL: 200}


def _failed(request: web.Request, fault: Fault, retry_after: dict[str, str] = _NO_WAIT) -> web.StreamResponse:
    if fault in {Fault.CUT, Fault.CUT_LANDED} and request.transport is not None:
        request.transport.abort()
    if fault in _PAGES:
        return web.Response(status=_PAGES[fault], text="<html>proxy</html>", content_type="text/html")
    match fault:
        case Fault.TOO_MANY:
            return _problem(429, "rate_requests", "too many requests", headers=retry_after)
        case Fault.TIMEOUT:
            return web.Response(status=408, text="too slow")
        case Fault.REDIRECT:
            return web.Response(status=302, headers={"Location": "/login"})
        case Fault.EXPIRED:
            return _problem(401, "token_expired", "the token has expired")
        case _:
            return _problem(503, "kafka_late", "not acknowledged in time", headers=retry_after)


def _problem(
    status: int,
    code: str,
    detail: str,
    errors: list[dict[str, str]] | None = None,
    headers: dict[str, str] | None = None,
) -> web.Response:
    document = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code}
    if errors:
        document["errors"] = errors
    text = json.dumps(document)
    named = {_CODE: code} | (headers or {})
    return web.Response(status=status, text=text, content_type="application/problem+json", headers=named)
