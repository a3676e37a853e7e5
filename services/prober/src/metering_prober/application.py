"""The prober's use case: send a measure of the known series, find it in SQL, compare the last day, say how late."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, NamedTuple, Protocol

import structlog

from metering_common.contract.limits import DAY_SECONDS
from metering_common.service.clock import Clock
from metering_prober.domain.series import Broken, Stored, compare, next_instant, value_at
from metering_prober.metrics import ProbeMetrics

LOOK_SECONDS = 0.1  # between two looks into SQL: how exact `queryable_seconds` is

Result = Literal["ok", "late", "refused", "unanswered", "no_token", "unreadable"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Sent(NamedTuple):
    """What the public API said to one measure; `accepted` is its 201."""

    result: Literal["accepted", "refused", "unanswered", "no_token"]
    detail: str = ""


class PublicApi(Protocol):
    """The platform as a gateway meets it."""

    async def send(self, instant: int, value: float) -> Sent:
        """One measure; never raises for what the platform or the line does."""
        ...


class UnreadableError(Exception):
    """SQL does not answer."""


class Readback(Protocol):
    """The platform as an analyst meets it; both raise `UnreadableError`."""

    async def has(self, instant: int) -> bool: ...

    async def since(self, instant: int) -> Mapping[int, Stored]: ...


class Prober:
    """Probes one after another; nothing of it must survive a restart."""

    def __init__(
        self,
        ingest_api: PublicApi,
        readback: Readback,
        clock: Clock,
        metrics: ProbeMetrics,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        every_seconds: int,
        wait_seconds: float,
    ) -> None:
        self._ingest_api, self._readback, self._clock, self._metrics, self._pause = (
            ingest_api,
            readback,
            clock,
            metrics,
            pause,
        )
        self._every_seconds, self._wait_seconds = every_seconds, wait_seconds
        self._accepted: set[int] = set()
        self._last: Result = "ok"
        self._broken = Broken(frozenset(), frozenset())

    async def run(self) -> None:
        """For ever, at whole multiples of the interval; a probe that takes longer leaves instants out."""
        while True:
            instant = next_instant(self._clock.now_ms() / 1_000, self._every_seconds)
            await self._pause(instant - self._clock.now_ms() / 1_000)
            await self.probe(instant)

    async def probe(self, instant: int) -> Result:
        """One measure, to its end; the result is counted, and told when it changes."""
        started = self._clock.monotonic()
        result, detail = await self._send_and_look(instant, started)
        self._metrics.probes.labels(result).inc()
        if result != self._last:
            told = log.info if result == "ok" else log.warning
            told(f"probe.{result}", instant=instant, detail=detail, before=self._last)
        self._last = result
        return result

    async def _send_and_look(self, instant: int, started: float) -> tuple[Result, str]:
        sent = await self._ingest_api.send(instant, value_at(instant))
        self._metrics.enrolled.set(sent.result != "no_token")
        if sent.result != "accepted":
            return sent.result, sent.detail
        self._metrics.request_seconds.observe(self._clock.monotonic() - started)
        self._accepted.add(instant)
        try:
            found = await self._look_for(instant, started)
            await self._compare(instant)
        except UnreadableError as error:
            return "unreadable", str(error)
        if not found:
            return "late", f"not in SQL after {self._wait_seconds} s"
        self._metrics.queryable_seconds.observe(self._clock.monotonic() - started)
        self._metrics.last_success_timestamp_seconds.set(self._clock.now_ms() / 1_000)
        return "ok", ""

    async def _look_for(self, instant: int, started: float) -> bool:
        while not (found := await self._readback.has(instant)):
            if self._clock.monotonic() - started > self._wait_seconds:
                break
            await self._pause(LOOK_SECONDS)
        return found

    async def _compare(self, instant: int) -> None:
        since = instant - DAY_SECONDS
        self._accepted = {one for one in self._accepted if one > since}
        broken = compare(self._accepted, await self._readback.since(since))
        self._metrics.missing.set(len(broken.missing))
        self._metrics.wrong.set(len(broken.wrong))
        if broken != self._broken and any(broken):
            log.critical("series.broken", missing=sorted(broken.missing), wrong=sorted(broken.wrong))
        self._broken = broken
