"""One portal's web API over its own controllers: addresses, credentials, pages and statuses of the guide."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
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
        query = _query(request, names.channels)
        trace = self._renderer.trace(query.get(names.client_request_id), f"{self.name}-{next(self._requests)}")
        try:
            ask = self._ask(request, query)
            fault = self.faults.strike(ask.call, ask.serial, ask.query.get(names.device, ""))
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
        if fault is not None and fault.kind == "wrong_echo":
            trace = trace | {self._renderer.dialect.trace.client_request_id[0]: "of-another-request"}
        elif fault is not None and fault.kind != "slow":
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
        parts = [unquote(part) for part in request.rel_url.raw_path.split("/")[1:] if part]
        if len(parts) not in (3, 5) or self._renderer.variant.dialect.get("paths"):
            query |= self._in_path(call, parts)
        elif len(parts) == 3:
            query[names.serial] = parts[2]
        else:
            query |= dict(zip((names.server_code, names.serial, names.access_code), parts[2:], strict=True))
        credentials = (query.get(name, "") for name in (names.server_code, names.serial, names.access_code))
        return Ask(call, query, *credentials)

    def _in_path(self, call: str, parts: list[str]) -> dict[str, str]:
        """The arguments where the dialect's path has them."""
        paths = self._renderer.dialect.paths
        template = (paths.master_data if call == "masterData" else paths.readings).strip("/").split("/")
        if len(template) != len(parts):
            raise PortalRefusal("BAD_REQUEST", f"the path is /{'/'.join(template)}")
        return {name[1:-1]: part for name, part in zip(template, parts, strict=True) if name.startswith("{")}

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
        ignored = variant.ignores_pages or names.paging == "from"
        first = 0 if ignored else max(0, number - names.first_page) * (1 if names.paging == "offset" else wanted)
        if variant.error_past_the_end and first > 0 and first >= len(found):
            raise PortalRefusal("BAD_REQUEST", "there is no such page")
        page = {"number": number, "size": wanted, "total": len(found), "pages": -(-len(found) // wanted)}
        shown = found[first : first + wanted]
        if variant.shuffled:
            random.Random(len(shown)).shuffle(shown)
        return self._renderer.readings(self._asked(device, ask), shown, page)

    def _asked(self, device: Device, ask: Ask) -> Device:
        """The device with the channels that were asked for, or all."""
        asked = ask.query.get(self._renderer.dialect.request.channels)
        if asked is None and self._renderer.variant.needs_channels:
            raise PortalRefusal("BAD_REQUEST", "name the channels")
        chosen = None if asked is None else set(asked.split(","))
        return replace(device, channels=tuple(one for one in device.channels if chosen is None or one.id in chosen))

    def _found(self, controller: Controller, device: Device, ask: Ask) -> list[Row]:
        """Both directions include `from`; sorted in the direction of travel unless the variant turns that round."""
        names, variant = self._renderer.dialect.request, self._renderer.variant
        from_ms, until_ms = _moment(ask.query, names.from_), None
        if names.to and names.to in ask.query:
            until_ms = _moment(ask.query, names.to)
        backward = ask.query.get(names.direction, names.forward) == names.backward
        start = 0 if backward else from_ms
        found = [
            row
            for row in rows(controller, device, self._now_ms(), start, both=variant.keeps_both)
            if not (backward and row.stamp_ms > from_ms) and (until_ms is None or row.stamp_ms <= until_ms)
        ]
        return found[::-1] if backward != variant.descending else found


def _moment(query: dict[str, str], name: str) -> int:
    try:
        return from_portal_time(query.get(name))
    except ValueError:
        raise PortalRefusal("BAD_REQUEST", f"{name} is no ISO 8601 time stamp") from None


def _query(request: web.Request, channels: str) -> dict[str, str]:
    """The arguments; those of the name that may be repeated are joined."""
    pairs = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)
    repeated = [value for name, value in pairs if name == channels]
    return dict(pairs) | ({channels: ",".join(repeated)} if repeated else {})


def _number(query: dict[str, str], name: str, default: int) -> int:
    try:
        return max(0, int(query.get(name, default)))
    except ValueError:
        raise PortalRefusal("BAD_REQUEST", f"{name} is no number") from None


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json", status=status)


async def _broken(request: web.Request, fault: PortalFault, trace: dict[str, Any]) -> web.StreamResponse:
    """Returns one of the ways in which an answer fails to be one."""
    if fault.kind == "cut":
        return await _cut(request)
    if fault.kind == "wrong_shape":
        return _json(trace | {"data": {"unexpected": [1, "two"]}})
    status, text, kind = _BROKEN[fault.kind]
    headers = {"Location": "https://portal.example/readings/v2/1"} if fault.kind == "http301" else {}
    if fault.retry_after is not None:
        headers["Retry-After"] = str(fault.retry_after)
    return web.Response(status=status, text=text, content_type=kind, headers=headers)


_BROKEN = {
    "http500": (500, "internal error", "text/plain"),
    "http429": (429, "too many requests", "text/plain"),
    "http301": (301, "", "text/plain"),
    "http410": (410, '{"message": "v1 has ended"}', "application/json"),
    "html403": (403, "<html>Forbidden by the firewall</html>", "text/html"),
    "not_json": (200, "<html>Vedligeholdelse</html>", "text/html"),
}
"""Status, text and content type."""


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100000", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"data": [')
    if request.transport is not None:
        request.transport.abort()
    return response
