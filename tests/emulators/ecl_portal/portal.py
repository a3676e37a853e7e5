"""One portal's web API over its own controllers: addresses, credentials, pages and statuses of the guide."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp import web

from metering_ecl_poller.domain.portal.times import from_portal_time
from tests.emulators.ecl_portal.answers import Renderer
from tests.emulators.ecl_portal.faults import Faults, PortalFault
from tests.emulators.ecl_portal.variant import Variant
from tests.emulators.ecl_portal.world import Controller, Device, Row, rows

CALLS = ("masterData", "readings")


class PortalRefusal(Exception):  # noqa: N818  a status of the portal, not a failure of the emulator
    """The status and sentence of an answer without data."""


class Ask(NamedTuple):
    """A request taken apart: the arguments decoded once, credentials found in path or query."""

    call: str
    query: dict[str, str]
    server_code: str
    serial: str
    access_code: str


class Portal:
    """`now_ms` is the virtual clock; `seen` counts requests; `most_at_once` is per controller and over all."""

    def __init__(self, name: str, now_ms: Callable[[], int], server_codes: set[str], latency_seconds: float) -> None:
        self.name, self.server_codes = name, server_codes
        self.controllers: dict[str, Controller] = {}
        self.faults = Faults()
        self.seen: Counter[str] = Counter()
        self.most_at_once: Counter[str] = Counter()
        self._now_ms, self._latency = now_ms, latency_seconds
        self._renderer = Renderer(Variant())
        self._in_flight: Counter[str] = Counter()
        self._requests = itertools.count(1)

    def speak(self, variant: Variant) -> None:
        self._renderer = Renderer(variant)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/{call}/{version}/{tail:.*}", self._answer)
        return application

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        names = self._renderer.dialect.request
        query = dict(parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True))
        trace = self._renderer.trace(query.get(names.client_request_id), f"{self.name}-{next(self._requests)}")
        try:
            ask = self._ask(request, query)
            fault = self.faults.strike(ask.call, ask.serial)
            self._enter(ask)
            try:
                return await self._serve(request, ask, trace, fault)
            finally:
                self._in_flight[ask.serial] -= 1
                self._in_flight["all"] -= 1
        except PortalRefusal as refusal:
            code, sentence = refusal.args
            denied = code in ("ACCESS_DENIED", "UNKNOWN_SERVER_CODE", "UNKNOWN_ECL")
            status = 403 if denied and self._renderer.variant.denied_by_http else 200
            return _json(trace | self._renderer.status(code, sentence), status)

    def _enter(self, ask: Ask) -> None:
        self.seen[ask.call] += 1
        for key in (ask.serial, "all"):
            self._in_flight[key] += 1
            self.most_at_once[key] = max(self.most_at_once[key], self._in_flight[key])

    async def _serve(
        self, request: web.Request, ask: Ask, trace: dict[str, Any], fault: PortalFault | None
    ) -> web.StreamResponse:
        await asyncio.sleep(self._latency + (fault.seconds if fault and fault.kind == "slow" else 0))
        if fault is not None and fault.kind != "slow":
            return await _broken(request, fault, trace)
        controller = self._admit(ask)
        body = self._master_data(controller) if ask.call == "masterData" else self._readings(controller, ask)
        return _json(trace | self._renderer.status("OK", "OK") | body)

    def _ask(self, request: web.Request, query: dict[str, str]) -> Ask:
        """Credentials in the path in the order of the guide's parameter table, or the serial alone and the rest asked.

        A bare `+` is a space by now and makes the time stamp unreadable; a bare `-` is refused, as the guide has it.
        """
        names, call = self._renderer.dialect.request, request.match_info["call"]
        raw = request.rel_url.raw_path.split("/", 3)[3] + request.rel_url.raw_query_string
        if call not in CALLS or request.match_info["version"] != "v1":
            raise PortalRefusal("UNKNOWN_VERSION", "only masterData/v1 and readings/v1 are served")
        if "-" in raw:
            raise PortalRefusal("BAD_REQUEST", "a hyphen must be sent as %2D")
        parts = [unquote(part) for part in request.rel_url.raw_path.split("/")[3:] if part]
        if len(parts) == 1:
            return Ask(call, query, query.get(names.server_code, ""), parts[0], query.get(names.access_code, ""))
        if len(parts) != 3:
            raise PortalRefusal("BAD_REQUEST", "the path is /{eclSerial} or /{serverCode}/{eclSerial}/{eclAccessCode}")
        return Ask(call, query, *parts)

    def _admit(self, ask: Ask) -> Controller:
        if ask.server_code not in self.server_codes:
            raise PortalRefusal("UNKNOWN_SERVER_CODE", f"server code {ask.server_code} is not known")
        controller = self.controllers.get(ask.serial)
        if controller is None:
            raise PortalRefusal("UNKNOWN_ECL", f"controller {ask.serial} is not known")
        if not controller.access_codes.get(ask.access_code, False):
            raise PortalRefusal("ACCESS_DENIED", f"access code {ask.access_code} does not open controller {ask.serial}")
        return controller

    def _master_data(self, controller: Controller) -> dict[str, Any]:
        return self._renderer.master_data(controller, self._now_ms())

    def _readings(self, controller: Controller, ask: Ask) -> dict[str, Any]:
        names, variant = self._renderer.dialect.request, self._renderer.variant
        device = controller.device(ask.query.get(names.device, ""))
        if device is None:
            raise PortalRefusal("UNKNOWN_DEVICE", "no such device")
        wanted = min(_number(ask.query, names.page_size, variant.page_size_default), variant.page_size_maximum)
        found = self._found(controller, device, ask)
        number = _number(ask.query, names.page_number, names.first_page)
        first = max(0, number - names.first_page) * wanted
        page = {"number": number, "size": wanted, "total": len(found), "pages": -(-len(found) // wanted)}
        return self._renderer.readings(device, found[first : first + wanted], page)

    def _found(self, controller: Controller, device: Device, ask: Ask) -> list[Row]:
        """Both directions include `from`; sorted in the direction of travel unless the variant turns that round."""
        names = self._renderer.dialect.request
        try:
            from_ms = from_portal_time(ask.query.get(names.from_))
        except ValueError:
            raise PortalRefusal("BAD_REQUEST", f"{names.from_} is no ISO 8601 time stamp") from None
        backward = ask.query.get(names.direction, names.forward) == names.backward
        if backward:
            found = [row for row in rows(controller, device, self._now_ms(), 0) if row.stamp_ms <= from_ms]
        else:
            found = rows(controller, device, self._now_ms(), from_ms)
        return found[::-1] if backward != self._renderer.variant.descending else found


def _number(query: dict[str, str], name: str, default: int) -> int:
    try:
        return max(0, int(query.get(name, default)))
    except ValueError:
        raise PortalRefusal("BAD_REQUEST", f"{name} is no number") from None


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json", status=status)


async def _broken(request: web.Request, fault: PortalFault, trace: dict[str, Any]) -> web.StreamResponse:
    """One of the ways in which an answer fails to be one."""
    match fault.kind:
        case "http500":
            return web.Response(status=500, text="<html>Server Error in '/' Application.</html>")
        case "http429":
            retry = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            return web.Response(status=429, text="too many requests", headers=retry)
        case "not_json":
            return web.Response(text="<html>Vedligeholdelse</html>", content_type="text/html")
        case "wrong_shape":
            return _json(trace | {"data": {"unexpected": [1, "two"]}})
    response = web.StreamResponse(headers={"Content-Length": "100000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"data": [')
    if request.transport is not None:
        request.transport.abort()
    return response
