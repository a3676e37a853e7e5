"""The emulator as servers: two portals with their own controllers, the control endpoint, and a redirect from HTTP."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.emulators.ecl_portal import fleet
from tests.emulators.ecl_portal.control import Control
from tests.emulators.ecl_portal.portal import Portal
from tests.emulators.ecl_portal.virtual_clock import VirtualClock

HOST = "127.0.0.1"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Ports of 0 are chosen freely. With `tls` the portals speak HTTPS, and `redirect_port` answers plain HTTP."""

    dk_port: int = 0
    com_port: int = 0
    control_port: int = 0
    redirect_port: int = 0
    dk_count: int = 0
    com_count: int = 0
    server_code: str = fleet.SERVER_CODE
    latency_seconds: float = 0.0
    history_ms: int = fleet.HISTORY_MS
    tls: ssl.SSLContext | None = None
    clock: VirtualClock = field(default_factory=VirtualClock)


@dataclass(frozen=True)
class Emulator:
    """Where it listens, and what it is made of. `redirect_url` is empty without TLS."""

    dk_url: str
    com_url: str
    control_url: str
    redirect_url: str
    portals: dict[str, Portal]
    clock: VirtualClock


@asynccontextmanager
async def run(options: Options) -> AsyncIterator[Emulator]:
    """Serves while the context is open."""
    clock = options.clock
    portals = {
        name: Portal(name, clock.now_ms, {options.server_code}, options.latency_seconds) for name in ("dk", "com")
    }
    for name, count, first in (("dk", options.dk_count, 0), ("com", options.com_count, 500_000)):
        made = fleet.controllers(name, count, clock.now_ms(), fleet.FIRST_SERIAL + first, options.history_ms)
        portals[name].controllers = {controller.serial: controller for controller in made}
    async with AsyncExitStack() as stack:
        dk = await stack.enter_async_context(_serving(portals["dk"].application(), options.dk_port, options.tls))
        com = await stack.enter_async_context(_serving(portals["com"].application(), options.com_port, options.tls))
        control = await stack.enter_async_context(_serving(Control(portals, clock).application(), options.control_port))
        redirect = ""
        if options.tls is not None:
            redirecting = _redirecting(dk)
            redirect = await stack.enter_async_context(_serving(redirecting, options.redirect_port))
        yield Emulator(dk, com, control, redirect, portals, clock)


@asynccontextmanager
async def _serving(application: web.Application, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port, ssl_context=tls, backlog=1_024).start()
        yield f"{'http' if tls is None else 'https'}://{HOST}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _redirecting(target: str) -> web.Application:
    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMovedPermanently(f"{target}{request.rel_url.raw_path_qs}")

    application = web.Application()
    application.router.add_get("/{tail:.*}", redirect)
    return application
