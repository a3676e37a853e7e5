"""What auth does by itself: keys take turns, and expired tokens are forgotten. Every replica looks."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import asyncpg
import structlog

from metering_auth.adapters.postgres.signing_keys import QUERIES, Connection, SigningKeys
from metering_auth.application.instants import Instants, database_clock
from metering_auth.application.key_lifecycle import KeyLifecycle
from metering_auth.metrics import IdentityMetrics
from metering_common.postgres.pool import TimedPool
from metering_common.registry.documents import KeyState
from metering_common.service.sealed import SealedError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

FORGET_EVERY_TURNS = 30
FORGET_TOKENS = 5_000  # in one statement
FORGET_AFTER = timedelta(hours=1)  # an unknown token just expired, within the leeway, would be an alarm
FAILURES_UNTIL_NOT_READY = 3


class Schedule:
    """Looks every few seconds; the database being away is told to /readyz and tried again."""

    def __init__(
        self,
        pool: TimedPool,
        keys: SigningKeys,
        lifecycle: KeyLifecycle,
        metrics: IdentityMetrics,
        *,
        every_seconds: float,
        instants: Instants = database_clock,
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._every_seconds = every_seconds
        self._instants = instants
        self._failures = 0
        self._failure = ""
        self._stopping = asyncio.Event()

    async def prepare(self) -> None:
        """The first key where there is none, and all keys in memory; raises what makes starting pointless."""
        async with self._pool.acquire() as connection:
            kid = await self._lifecycle.ensure_first(connection)
            if kid is not None:
                log.info("key.first_made", kid=kid)
            await self._keys.load(connection)
        reason = self._keys.not_ready_reason()
        if reason is not None:
            raise SealedError(reason)

    async def run(self) -> None:
        """Until it is stopped."""
        turn = 0
        while not self._stopping.is_set():
            turn += 1
            await self._attempt(forget=turn % FORGET_EVERY_TURNS == 0)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._every_seconds)

    def stop(self) -> None:
        """No other turn begins."""
        self._stopping.set()

    def not_ready_reason(self) -> str | None:
        """For /readyz."""
        if self._failures < FAILURES_UNTIL_NOT_READY:
            return self._keys.not_ready_reason()
        return f"the last {self._failures} turns of the schedule failed: {self._failure}"

    async def _attempt(self, *, forget: bool) -> None:
        try:
            async with self._pool.acquire() as connection:
                await self._turn(connection, forget=forget)
            self._failures = 0
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, SealedError) as error:
            self._failures += 1
            self._failure = f"{type(error).__name__}: {error}"
            log.warning("schedule.failed", error=self._failure)

    async def _turn(self, connection: Connection, *, forget: bool) -> None:
        for step in await self._lifecycle.follow_schedule(connection):
            log.info("key.step", step=type(step).__name__, kid=getattr(step, "kid", None))
        await self._keys.load(connection)
        await self._watch(connection)
        if forget:
            await self._forget_expired(connection)

    async def _forget_expired(self, connection: Connection) -> None:
        """Of a token that has expired nothing need be remembered: it is refused for that alone."""
        now = await connection.fetchval(QUERIES.now, self._instants())
        rows = await connection.fetch(QUERIES.forget_expired_tokens, now - FORGET_AFTER, FORGET_TOKENS)
        await connection.execute(QUERIES.forget_empty_families, [row["family_id"] for row in rows])

    async def _watch(self, connection: Connection) -> None:
        rows = await connection.fetch(QUERIES.kept_keys)
        for state in KeyState:
            self._metrics.keys.labels(state).set(sum(row["state"] == state for row in rows))
        active = next((row["active_at"] for row in rows if row["state"] == KeyState.ACTIVE), None)
        if active is not None:
            age = await connection.fetchval(QUERIES.now, None) - active
            self._metrics.key_age_seconds.set(age.total_seconds())
