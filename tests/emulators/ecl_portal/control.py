"""The emulator's control endpoint: moves the clock, makes outages and faults, reports the truth of both portals."""

from typing import Any

import msgspec
import orjson
from aiohttp import web

from tests.emulators.ecl_portal import fleet
from tests.emulators.ecl_portal.faults import PortalFault
from tests.emulators.ecl_portal.portal import Portal
from tests.emulators.ecl_portal.variant import Variant
from tests.emulators.ecl_portal.virtual_clock import VirtualClock
from tests.emulators.ecl_portal.world import Controller, gaps, rows, value_at


class Control:
    """Everything takes and gives JSON; times are true Unix milliseconds."""

    def __init__(self, portals: dict[str, Portal], clock: VirtualClock) -> None:
        self._portals, self._clock = portals, clock

    def application(self) -> web.Application:
        application = web.Application()
        router = application.router
        router.add_get("/clock", self._get_clock)
        router.add_post("/clock", self._set_clock)
        router.add_post("/controllers", self._add_controllers)
        router.add_post("/controllers/{serial}", self._change_controller)
        router.add_get("/controllers/{serial}/truth", self._truth)
        router.add_post("/variant", self._speak)
        router.add_post("/faults", self._plan_fault)
        router.add_delete("/faults", self._clear_faults)
        router.add_get("/requests", self._requests)
        return application

    async def _get_clock(self, _request: web.Request) -> web.Response:
        return _json({"nowMs": self._clock.now_ms()})

    async def _set_clock(self, request: web.Request) -> web.Response:
        """{"advanceSeconds"} or {"nowMs"}, and {"rate"}."""
        wanted = await request.json()
        if "advanceSeconds" in wanted:
            self._clock.advance(wanted["advanceSeconds"])
        self._clock.set(wanted.get("nowMs"), wanted.get("rate"))
        return await self._get_clock(request)

    async def _add_controllers(self, request: web.Request) -> web.Response:
        """{"portal", "count", "firstSerial"}: more of the ready-made controllers."""
        wanted = await request.json()
        portal = self._portals[wanted["portal"]]
        added = fleet.controllers(portal.name, wanted["count"], self._clock.now_ms(), wanted["firstSerial"])
        portal.controllers |= {controller.serial: controller for controller in added}
        return _json({"serials": [controller.serial for controller in added]})

    async def _change_controller(self, request: web.Request) -> web.Response:
        """Any of {"outage": [from, to]}, {"accessCode": [code, enabled]}, {"clockError": [from, by]}, {"timeZone"},
        {"delete": device}, {"silent": [device, from, to]}, {"open": [device, channel, from]}, {"unit": [device,
        channel, unit]}.
        """
        controller, wanted = self._controller(request), await request.json()
        for what, value in wanted.items():
            _CHANGES[what](controller, value)
        return _json({})

    async def _truth(self, request: web.Request) -> web.Response:
        """All that the portal has of a controller: samples (time stamp, received, values by channel) and holes."""
        controller, now = self._controller(request), self._clock.now_ms()
        return _json(
            {
                device.id: {
                    "type": device.type,
                    "samples": [
                        [
                            row.stamp_ms,
                            row.received_ms,
                            {channel.id: value_at(device, channel, row.true_ms) for channel in device.channels},
                        ]
                        for row in rows(controller, device, now, 0)
                    ],
                    "gaps": gaps(controller, device, now),
                }
                for device in controller.devices
                if not device.deleted
            }
        )

    async def _speak(self, request: web.Request) -> web.Response:
        variant = msgspec.json.decode(await request.read(), type=Variant)
        for portal in self._portals.values():
            portal.speak(variant)
        return _json({})

    async def _plan_fault(self, request: web.Request) -> web.Response:
        fault = msgspec.json.decode(await request.read(), type=PortalFault)
        for portal in self._portals.values():
            portal.faults.plan(msgspec.structs.replace(fault))
        return _json({})

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        for portal in self._portals.values():
            portal.faults.clear()
        return _json({})

    async def _requests(self, _request: web.Request) -> web.Response:
        """Per portal: how many came, and how many were in flight at once, at most, of one controller and of all."""
        reported = {}
        for name, portal in self._portals.items():
            most = dict(portal.most_at_once)
            at_once = {"all": most.pop("all", 0), "controller": max(most.values(), default=0)}
            reported[name] = {"seen": dict(portal.seen), "mostAtOnce": at_once}
        return _json(reported)

    def _controller(self, request: web.Request) -> Controller:
        serial = request.match_info["serial"]
        for portal in self._portals.values():
            if serial in portal.controllers:
                return portal.controllers[serial]
        raise web.HTTPNotFound(text=f"no controller {serial}")


def _delete(controller: Controller, device_id: str) -> None:
    _device(controller, device_id).deleted = True


def _silence(controller: Controller, value: list[Any]) -> None:
    _device(controller, value[0]).silent.append((value[1], value[2]))


def _open(controller: Controller, value: list[Any]) -> None:
    _device(controller, value[0]).open_from_ms[value[1]] = value[2]


def _declare_unit(controller: Controller, value: list[Any]) -> None:
    device = _device(controller, value[0])
    device.channels = tuple(
        type(channel)(channel.id, channel.name, value[2], channel.kind) if channel.id == value[1] else channel
        for channel in device.channels
    )


def _device(controller: Controller, device_id: str) -> Any:
    found = controller.device(device_id)
    if found is None:
        raise web.HTTPNotFound(text=f"no device {device_id}")
    return found


_CHANGES: dict[str, Any] = {
    "outage": lambda controller, span: controller.outages.append((span[0], span[1])),
    "accessCode": lambda controller, pair: controller.access_codes.update({pair[0]: pair[1]}),
    "clockError": lambda controller, pair: controller.clock_errors.append((pair[0], pair[1])),
    "timeZone": lambda controller, zone: setattr(controller, "time_zone", zone),
    "delete": _delete,
    "silent": _silence,
    "open": _open,
    "unit": _declare_unit,
}


def _json(body: Any) -> web.Response:
    return web.Response(body=orjson.dumps(body), content_type="application/json")
