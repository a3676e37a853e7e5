"""What only SQL and certificates know, read every minute into gauges: accounts, refusals, silence, jobs, sizes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import structlog

from metering_common.postgres.pool import TimedPool
from metering_common.service.clock import Clock
from metering_prober.adapters.certificates import Server, expiry
from metering_prober.adapters.readback import FAILURES, QUERIES
from metering_prober.domain.batch_ids import STAND_INS_END, first_of
from metering_prober.metrics import InspectionMetrics

MINUTE_MS = 60_000
ACCOUNT_FROM_MINUTES, ACCOUNT_UNTIL_MINUTES, MARGIN_MINUTES = 120, 15, 10

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Inspections:
    """Each by itself: one that fails is counted and told once, and the others go on."""

    def __init__(
        self,
        pool: TimedPool,
        metrics: InspectionMetrics,
        clock: Clock,
        silent: timedelta,
        servers: Mapping[str, Server],
    ) -> None:
        self._pool, self._metrics, self._clock, self._silent = pool, metrics, clock, silent
        self._servers = servers
        self._failing: set[str] = set()
        self._all: dict[str, Callable[[], Awaitable[None]]] = {
            "accounts": self._accounts,
            "refusals": self._refusals,
            "silence": self._silence,
            "jobs": self._jobs,
            "sizes": self._sizes,
            "certificates": self._certificates,
        }

    async def run(self, every_seconds: float) -> None:
        while True:
            await self.inspect()
            await asyncio.sleep(every_seconds)

    async def inspect(self) -> None:
        """All of them, one after another."""
        for name, inspection in self._all.items():
            try:
                await inspection()
            except FAILURES as error:
                self._metrics.failures.labels(name).inc()
                if name not in self._failing:
                    log.warning("inspection.failed", inspection=name, error=repr(error))
                self._failing.add(name)
            else:
                self._failing.discard(name)

    async def _accounts(self) -> None:
        def ago(minutes: int) -> object:
            return first_of(self._clock.now_ms() - minutes * MINUTE_MS)

        bounds = ago(ACCOUNT_FROM_MINUTES + MARGIN_MINUTES), ago(ACCOUNT_FROM_MINUTES), ago(ACCOUNT_UNTIL_MINUTES)
        self._metrics.unaccounted.set(await self._pool.fetchval(QUERIES.unaccounted, *bounds, STAND_INS_END))

    async def _refusals(self) -> None:
        rows = await self._pool.fetch(QUERIES.refusals, first_of(self._clock.now_ms() - 60 * MINUTE_MS))
        self._metrics.refused_ratio.clear()
        self._metrics.provider_values.clear()
        for row in rows:
            self._metrics.refused_ratio.labels(row["provider"]).set(row["refused"] / row["validated"])
            self._metrics.provider_values.labels(row["provider"]).set(row["validated"])

    async def _silence(self) -> None:
        row = await self._pool.fetchrow(QUERIES.silence, self._silent)
        if row is not None:
            for state in ("silent", "sending"):
                self._metrics.gateways.labels(state).set(row[f"gateways_{state}"])
                self._metrics.devices.labels(state).set(row[f"devices_{state}"])

    async def _jobs(self) -> None:
        rows = await self._pool.fetch(QUERIES.jobs) if await self._pool.fetchval(QUERIES.has_timescaledb) else []
        for row in rows:
            policy = row["policy"].strip()
            self._metrics.job_failed.labels(policy).set(bool(row["failed"]))
            if row["succeeded_at"] is not None:
                self._metrics.job_success_timestamp.labels(policy).set(float(row["succeeded_at"]))

    async def _sizes(self) -> None:
        timescale = await self._pool.fetchval(QUERIES.has_timescaledb)
        row = await self._pool.fetchrow(QUERIES.sizes_timescale if timescale else QUERIES.sizes)
        if row is not None:
            sizes = dict(row)
            self._metrics.database_bytes.set(sizes.pop("database"))
            for relation, size in sizes.items():
                self._metrics.relation_bytes.labels(relation).set(size)

    async def _certificates(self) -> None:
        for name, server in self._servers.items():
            ends = await expiry(server)
            if ends is not None:
                self._metrics.certificate_expiry.labels(name).set(ends.timestamp())
