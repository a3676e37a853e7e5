"""Gateways that never pause, and an account of every answer they got: what must not show when something is replaced."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp

from tests.e2e.gateway import JSON_HEADERS, Site, element, register
from tests.e2e.platform import Platform, eventually

PAUSE_SECONDS = 0.02
SENSORS = ("Corriente A", "Corriente B")
ANSWER_SECONDS = 30
LANE_SECONDS = 10_000
"""Between the first measures of a device's lanes: more than one of them sends during a test."""


@dataclass
class Load:
    """Several devices, each sending one measure after the other, every measure of another second."""

    platform: Platform
    sites: list[Site]
    answers: Counter[str] = field(default_factory=Counter)
    resend: bool = False
    """Whether what was not taken is sent again, as a gateway does; else it is only counted."""
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def taken(self) -> int:
        return self.answers["201"]

    @property
    def failures(self) -> dict[str, int]:
        return {answer: count for answer, count in self.answers.items() if answer != "201"}

    async def send(self, site: Site, first: int) -> None:
        """Until cancelled; a measure that is on its way then is finished."""
        headers = JSON_HEADERS | {"authorization": f"Bearer {site.token}"}
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            timestamp = first
            while not self.stopped.is_set():
                answer = await self._post(session, site, timestamp)
                self.answers[answer] += 1
                if answer == "201" or not self.resend:
                    timestamp += 1
                await asyncio.sleep(PAUSE_SECONDS)

    async def _post(self, session: aiohttp.ClientSession, site: Site, timestamp: int) -> str:
        values = [(sensor, float(timestamp % 1_000)) for sensor in SENSORS]
        body = [element(site.number, {timestamp: list(values)})]
        try:
            async with session.post(f"{self.platform.api_url}/api/v1/measurements", json=body) as response:
                await response.read()
                return str(response.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    async def await_stored(self, seconds: float = 120) -> None:
        """Every measure that got its 201 is stored, and each request is one record of the ledger."""
        devices = [site.device for site in self.sites]
        wanted = self.taken * len(SENSORS)
        rows = "SELECT count(*) FROM measurement_named WHERE device_id = ANY($1)"
        stored = await eventually(lambda: self.platform.scalar(rows, devices), lambda found: found >= wanted, seconds)
        records = await self.platform.scalar("SELECT count(*) FROM ingest_batch WHERE device_id = ANY($1)", devices)
        # What was answered with a 503, or not at all, may have landed all the same: at most so many more.
        failed = sum(self.failures.values())
        assert self.taken <= records <= self.taken + failed, f"{records} records, {self.answers}"
        assert wanted <= stored <= wanted + failed * len(SENSORS), f"{stored} values, {self.answers}"


@asynccontextmanager
async def sending(
    platform: Platform, name: str, devices: int = 2, *, lanes: int = 1, resend: bool = False
) -> AsyncIterator[Load]:
    """While the block lasts, each device on so many lanes at once; answers are counted to the last one after it."""
    sites = [await register(platform, f"{name} {number}", f"{name}-{number}") for number in range(devices)]
    load = Load(platform, sites, resend=resend)
    first = int(time.time()) - 80_000
    starts = [first + lane * LANE_SECONDS for lane in range(lanes)]
    tasks = [asyncio.create_task(load.send(site, start)) for site in sites for start in starts]
    try:
        yield load
    finally:
        load.stopped.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks), ANSWER_SECONDS + 5)
