"""The loop of `metering-writer registers`: takes notes as they come and keeps the hours of silent devices."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from metering_common.service.clock import Clock
from metering_writer.adapters.registers import PostgresRegisters
from metering_writer.domain.error_classification import backoff_seconds
from metering_writer.metrics import RegistersMetrics

DEVICES_AT_ONCE = 500
"""Whose completeness is worked out in one statement."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class RegisterLoop:
    """`metering_common.service.lifecycle.Service`."""

    def __init__(
        self,
        registers: PostgresRegisters,
        metrics: RegistersMetrics,
        clock: Clock,
        pause: Callable[[float], Awaitable[None]],
        pause_seconds: float,
    ) -> None:
        self._registers, self._metrics, self._clock = registers, metrics, clock
        self._pause, self._pause_seconds = pause, pause_seconds
        self._leaving = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._failures = 0
        self._failure: str | None = None

    async def run(self) -> None:
        """Works until `leave`; whatever the database does is logged once and tried again."""
        self._ended.clear()
        try:
            while not self._leaving:
                await self._turn()
        finally:
            self._ended.set()

    async def leave(self) -> None:
        """Finishes the notes in flight and stops."""
        self._leaving = True
        await self._ended.wait()

    def database_reason(self) -> str | None:
        """A check for the admin server."""
        return self._failure

    async def _turn(self) -> None:
        try:
            self._metrics.delay_seconds.set(await self._registers.oldest_note_seconds())
            busy = await self._catch_up() or await self._registers.keep_completeness(DEVICES_AT_ONCE)
        except Exception as error:  # noqa: BLE001  the notes stay where they are
            await self._failed(error)
            return
        if self._failure is not None:
            log.info("database.recovered")
        self._failure, self._failures = None, 0
        if not busy:
            await self._pause(self._pause_seconds)

    async def _catch_up(self) -> bool:
        started = self._clock.monotonic()
        done = await self._registers.catch_up()
        if done.notes:
            self._metrics.notes.inc(done.notes)
            self._metrics.registers.inc(done.registers)
            self._metrics.revised.inc(done.revised)
            self._metrics.turn_seconds.observe(self._clock.monotonic() - started)
        return bool(done.notes)

    async def _failed(self, error: Exception) -> None:
        self._metrics.failures.inc()
        failure = f"{type(error).__name__}: {error}"
        if failure != self._failure:
            log.warning("registers.failed", error=failure)
        self._failure = failure
        await self._pause(backoff_seconds(self._failures))
        self._failures += 1
