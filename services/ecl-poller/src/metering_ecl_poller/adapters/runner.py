"""Takes controllers that are due, asks a bounded number of them at once, and stores how each ended."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import asyncpg
import structlog

from metering_common.kafka.publisher import PublishUnavailableError, RecordTooLargeError
from metering_common.service.clock import Clock
from metering_common.service.tracing import Tracing
from metering_ecl_poller.adapters.kafka.raw_publisher import RegistryUnsureError
from metering_ecl_poller.adapters.postgres.poll_store import PostgresPollStore
from metering_ecl_poller.application.polling import Polling
from metering_ecl_poller.domain import poll_result
from metering_ecl_poller.domain.circuit_breaker import PortalCircuitBreaker
from metering_ecl_poller.domain.job import ControllerLeaseLostError, PollJob, PollResult
from metering_ecl_poller.domain.portal.errors import PortalBusyError, PortalError, PortalUnreachableError
from metering_ecl_poller.metrics import STATES, PollerMetrics

MOST_PER_CLAIM = 32
COUNT_EVERY_SECONDS = 15.0
OUR_OWN = (PublishUnavailableError, RecordTooLargeError, RegistryUnsureError, OSError, asyncpg.PostgresError)
"""Not the portal's fault, and worth another try."""

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Runner:
    """The service's loop. One request at a time per controller: a controller is one job, and a job is sequential."""

    def __init__(
        self,
        store: PostgresPollStore,
        polling: Polling,
        clock: Clock,
        metrics: PollerMetrics,
        limits: tuple[int, float],
        *,
        tracing: Tracing | None = None,
    ) -> None:
        self._store, self._polling = store, polling
        self._clock, self._metrics = clock, metrics
        self._most, self._idle_seconds = limits
        self._tracing = tracing
        self._breaker = PortalCircuitBreaker()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.database_trouble: str | None = None
        """For readiness: why the database cannot be used."""

    async def run(self) -> None:
        """For ever; after `drain` it still keeps the leases of what is in flight."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew())
            group.create_task(self._count())
            group.create_task(self._take_due())

    async def drain(self) -> None:
        """Takes nothing more and waits for what is in flight; the caller sets the limit of time."""
        self._stopping = True
        if self._in_flight:
            await asyncio.wait(set(self._in_flight))

    async def _take_due(self) -> None:
        while not self._stopping:
            taken = await self._claim()
            for job in taken:
                task = asyncio.create_task(self.work(job))
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)
            self._metrics.in_flight.set(len(self._in_flight))
            await self._rest(len(taken))

    async def _rest(self, taken: int) -> None:
        """Until a place is free; with places free and nothing due, for the idle time."""
        if len(self._in_flight) >= self._most:
            await asyncio.wait(set(self._in_flight), return_when=asyncio.FIRST_COMPLETED)
        elif not taken:
            await asyncio.sleep(self._idle_seconds)

    async def _claim(self) -> list[PollJob]:
        free = min(self._most - len(self._in_flight), MOST_PER_CLAIM)
        resting = self._breaker.resting(self._clock.monotonic())
        try:
            jobs = await self._store.claim(self._clock.now_ms(), free, resting)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._set_database_state(repr(error))
            return []
        self._set_database_state(None)
        return [] if self._stopping else jobs

    def _set_database_state(self, what: str | None) -> None:
        if (what is None) != (self.database_trouble is None):
            log.warning("store.unreachable" if what else "store.reached", error=what)
        self.database_trouble = what

    async def work(self, job: PollJob) -> None:
        """One controller to its end, whatever that is; nothing of it reaches another controller."""
        with structlog.contextvars.bound_contextvars(controller=job.serial):
            started = self._clock.monotonic()
            try:
                result = await self.attempt(job)
                self._metrics.poll_seconds.observe(self._clock.monotonic() - started)
                await self._store.finish(job, result)
            except ControllerLeaseLostError as error:
                log.warning("controller.lost", error=str(error))
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("controller.result_not_stored", error=repr(error))

    async def attempt(self, job: PollJob) -> PollResult:
        """Raises `ControllerLeaseLostError`; every other way of ending is a result."""
        try:
            await self._poll(job)
        except PortalError as error:
            self._note_failure(job, error)
            return self._failure(job, error, error.kind)
        except OUR_OWN as error:
            return self._failure(job, error, "ours")
        except ControllerLeaseLostError:
            raise
        except Exception as error:  # a defect with one controller's data must not stop the others
            log.exception("controller.defect")
            return self._failure(job, error, "defect")
        self._breaker.answered(job.account.portal)
        self._metrics.polls.labels("done").inc()
        if job.state in ("failing", "denied"):
            log.info("controller.recovered", after_attempts=job.attempts)
        return poll_result.succeeded(job, self._clock.now_ms())

    async def _poll(self, job: PollJob) -> None:
        """A poll begins a trace, where somebody collects them; it goes on with the records."""
        if self._tracing is None:
            await self._polling.poll(job)
            return
        with self._tracing.work("poll", {"metering.controller": job.serial}) as traceparent:
            await self._polling.poll(replace(job, traceparent=traceparent))

    def _failure(self, job: PollJob, error: Exception, kind: str) -> PollResult:
        """Logged once when it begins and once when it ends, not every hour in between."""
        self._metrics.polls.labels(kind).inc()
        result = poll_result.failed(job, error, self._clock.now_ms())
        if result.state != job.state:
            event = "controller.denied" if result.state == "denied" else "controller.failing"
            log.warning(event, kind=kind, error=str(error))
        return result

    def _note_failure(self, job: PollJob, error: PortalError) -> None:
        portal, now = job.account.portal, self._clock.monotonic()
        if isinstance(error, PortalBusyError):
            self._breaker.busy(portal, now, error.retry_after_seconds)
        elif isinstance(error, PortalUnreachableError):
            self._breaker.failed(portal, now)
        else:
            self._breaker.answered(portal)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._store.lease_seconds / 3)
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await self._store.renew()

    async def _count(self) -> None:
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                now = self._clock.now_ms()
                rows = await self._store.counts(now)
                found = {row["state"]: row["controllers"] for row in rows}
                for state in STATES:
                    self._metrics.controllers.labels(state).set(found.get(state, 0))
                overdue = max((float(row["overdue"]) for row in rows if row["overdue"] is not None), default=0.0)
                self._metrics.overdue_seconds.set(max(0.0, overdue))
                self._metrics.held_channels.set(await self._store.count_held())
            await asyncio.sleep(COUNT_EVERY_SECONDS)
