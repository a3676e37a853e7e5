"""What the poller's tests share: the emulator in this process, and the poller's client connected to it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from metering_common.service.clock import ManualClock
from metering_ecl_poller.adapters.portal.client import PortalClient
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.answer import PortalAnswer
from metering_ecl_poller.domain.portal.dialect import Dialect
from tests.emulators.ecl_portal import fleet, server
from tests.emulators.ecl_portal.virtual_clock import VirtualClock
from tests.emulators.ecl_portal.world import Controller

NOON_MS = 1_773_230_400_000  # 2026-03-11T12:00:00Z
START_MS = int(os.environ.get("METERING_TEST_START_MS", NOON_MS))
"""When the emulator's time begins in the tests of the tool: tests/at_any_hour.py sets other moments."""
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000


@dataclass
class CollectedAnswers:
    """Takes every answer, in order."""

    taken: list[PortalAnswer] = field(default_factory=list)

    async def __call__(self, answer: PortalAnswer) -> None:
        self.taken.append(answer)


@dataclass
class ConnectedPortal:
    """An emulator with one controller on each portal, and the poller's client connected to it."""

    emulator: server.Emulator
    session: aiohttp.ClientSession
    clock: ManualClock
    answers: CollectedAnswers = field(default_factory=CollectedAnswers)

    def client(self, dialect: Dialect | None = None, timeout_seconds: float = 60) -> PortalClient:
        table = dialect or load_dialect()
        return PortalClient(self.session, table, self.clock, self.answers, timeout_seconds=timeout_seconds)

    @property
    def controller(self) -> Controller:
        return next(iter(self.emulator.portals["dk"].controllers.values()))

    def account(self, server_code: str = fleet.SERVER_CODE, access_code: str = fleet.ACCESS_CODE) -> PortalAccount:
        return PortalAccount(self.emulator.dk_url, self.controller.serial, server_code, access_code)


@asynccontextmanager
async def connect() -> AsyncIterator[ConnectedPortal]:
    """At ten past twelve: the portal collected a few minutes ago."""
    clock = VirtualClock(NOON_MS + 10 * MINUTE_MS, rate=0)
    options = server.Options(dk_count=1, com_count=1, clock=clock)
    async with server.run(options) as emulator, aiohttp.ClientSession() as session:
        yield ConnectedPortal(emulator, session, ManualClock(clock.now_ms()))
