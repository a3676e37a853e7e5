"""What auth does by itself: keys take turns, and expired tokens are forgotten. Every replica looks."""

import asyncio
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from typing import NamedTuple, Protocol

import structlog

from metering_auth.domain.keys import KeyStep
from metering_auth.metrics import IdentityMetrics
from metering_common.postgres.pool import UNAVAILABLE
from metering_common.registry.documents import KeyState
from metering_common.service.sealed import SealedError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

FORGET_EVERY_TURNS = 30
FAILURES_UNTIL_NOT_READY = 3


class KeysNow(NamedTuple):
    """The keys that are not retired."""

    states: Collection[KeyState]
    """One for each key."""
    active_for: timedelta | None
    """How long the active one has signed."""


class Session(Protocol):
    """One connection's part of a turn."""

    async def ensure_first(self) -> str | None:
        """Makes the first key; its kid, or None if there are keys."""
        ...

    async def take_due_steps(self) -> list[KeyStep]:
        """Takes the steps of keys that are due, and returns them."""
        ...

    async def load_keys(self) -> None:
        """Brings this process's copy of the keys up to date."""
        ...

    async def keys_now(self) -> KeysNow: ...

    async def forget_expired(self) -> None:
        """Forgets tokens of which nothing need be remembered."""
        ...


class Store(Protocol):
    """Keys and tokens, kept."""

    def session(self) -> AbstractAsyncContextManager[Session]: ...

    def not_ready_reason(self) -> str | None:
        """Why this process cannot sign, if it cannot."""
        ...


class Schedule:
    """Looks every few seconds; a database that is away is reported to /readyz and tried again."""

    def __init__(self, store: Store, metrics: IdentityMetrics, *, every_seconds: float) -> None:
        self._store = store
        self._metrics = metrics
        self._every_seconds = every_seconds
        self._failures = 0
        self._failure = ""
        self._stopping = asyncio.Event()

    async def prepare(self) -> None:
        """The first key where there is none, and all keys in memory; raises what makes starting pointless."""
        async with self._store.session() as session:
            kid = await session.ensure_first()
            if kid is not None:
                log.info("key.first_made", kid=kid)
            await session.load_keys()
        reason = self._store.not_ready_reason()
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
            return self._store.not_ready_reason()
        return f"the last {self._failures} turns of the schedule failed: {self._failure}"

    async def _attempt(self, *, forget: bool) -> None:
        try:
            async with self._store.session() as session:
                await self._turn(session, forget=forget)
            self._failures = 0
        except (*UNAVAILABLE, SealedError) as error:
            self._failures += 1
            self._failure = f"{type(error).__name__}: {error}"
            log.warning("schedule.failed", error=self._failure)

    async def _turn(self, session: Session, *, forget: bool) -> None:
        for step in await session.take_due_steps():
            log.info("key.step", step=type(step).__name__, kid=getattr(step, "kid", None))
        await session.load_keys()
        self._show(await session.keys_now())
        if forget:
            await session.forget_expired()

    def _show(self, keys: KeysNow) -> None:
        for state in KeyState:
            self._metrics.keys.labels(state).set(sum(each is state for each in keys.states))
        if keys.active_for is not None:
            self._metrics.key_age_seconds.set(keys.active_for.total_seconds())
