"""What the poller's tests share: the emulator in this process, and the poller's client connected to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from metering_common.service.clock import ManualClock
from metering_ecl_poller.portal.address import Account
from metering_ecl_poller.portal.client import Answer, PortalClient
from metering_ecl_poller.portal.dialect import Dialect, load_dialect
from tests.emulators.ecl_portal import fleet, server
from tests.emulators.ecl_portal.virtual_clock import VirtualClock
from tests.emulators.ecl_portal.world import Controller

NOON_MS = 1_773_230_400_000  # 2026-03-11T12:00:00Z
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


@dataclass
class Answers:
    """Takes every answer, in order."""

    taken: list[Answer] = field(default_factory=list)

    async def __call__(self, answer: Answer) -> None:
        self.taken.append(answer)


@dataclass
class Line:
    """An emulator with one controller on each portal, and the poller's client connected to it."""

    emulator: server.Emulator
    session: aiohttp.ClientSession
    clock: ManualClock
    answers: Answers = field(default_factory=Answers)

    def client(self, dialect: Dialect | None = None, timeout_seconds: float = 60) -> PortalClient:
        table = dialect or load_dialect()
        return PortalClient(self.session, table, self.clock, self.answers, timeout_seconds=timeout_seconds)

    @property
    def controller(self) -> Controller:
        return next(iter(self.emulator.portals["dk"].controllers.values()))

    def account(self, server_code: str = fleet.SERVER_CODE, access_code: str = fleet.ACCESS_CODE) -> Account:
        return Account(self.emulator.dk_url, self.controller.serial, server_code, access_code)


@asynccontextmanager
async def connected() -> AsyncIterator[Line]:
    """At ten past twelve: the portal collected a few minutes ago."""
    clock = VirtualClock(NOON_MS + 10 * MINUTE_MS, rate=0)
    options = server.Options(dk_count=1, com_count=1, clock=clock)
    async with server.run(options) as emulator, aiohttp.ClientSession() as session:
        yield Line(emulator, session, ManualClock(clock.now_ms()))
