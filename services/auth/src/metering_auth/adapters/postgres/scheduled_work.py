"""What a turn of the schedule reads and changes in PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from metering_auth.adapters.postgres.key_lifecycle import KeyLifecycle
from metering_auth.adapters.postgres.rows import Connection
from metering_auth.adapters.postgres.signing_keys import QUERIES, SigningKeys
from metering_auth.application.instants import Instants, database_clock
from metering_auth.application.schedule import KeysNow
from metering_auth.domain.keys import KeyStep
from metering_common.postgres.pool import TimedPool
from metering_common.registry.documents import KeyState

FORGET_TOKENS = 5_000  # in one statement
FORGET_AFTER = timedelta(hours=1)  # an unknown token just expired, within the leeway, would be an alarm


class ScheduledWork:
    """Keys and tokens as the schedule works on them; each turn takes one connection."""

    def __init__(
        self, pool: TimedPool, keys: SigningKeys, lifecycle: KeyLifecycle, instants: Instants = database_clock
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._lifecycle = lifecycle
        self._instants = instants

    @asynccontextmanager
    async def session(self) -> AsyncIterator["ScheduledSession"]:
        async with self._pool.acquire() as connection:
            yield ScheduledSession(connection, self._keys, self._lifecycle, self._instants)

    def not_ready_reason(self) -> str | None:
        """The key that signs must be one that this process can open."""
        return self._keys.not_ready_reason()


class ScheduledSession:
    """One turn's connection."""

    def __init__(self, connection: Connection, keys: SigningKeys, lifecycle: KeyLifecycle, instants: Instants) -> None:
        self._connection = connection
        self._keys = keys
        self._lifecycle = lifecycle
        self._instants = instants

    async def ensure_first(self) -> str | None:
        return await self._lifecycle.ensure_first(self._connection)

    async def take_due_steps(self) -> list[KeyStep]:
        return await self._lifecycle.follow_schedule(self._connection)

    async def load_keys(self) -> None:
        await self._keys.load(self._connection)

    async def keys_now(self) -> KeysNow:
        rows = await self._connection.fetch(QUERIES.kept_keys)
        active_at = next((row["active_at"] for row in rows if row["state"] == KeyState.ACTIVE), None)
        active_for = None if active_at is None else await self._connection.fetchval(QUERIES.now, None) - active_at
        return KeysNow([KeyState(row["state"]) for row in rows], active_for)

    async def forget_expired(self) -> None:
        """Of a token that has expired nothing need be remembered: it is refused for that alone."""
        now = await self._connection.fetchval(QUERIES.now, self._instants())
        rows = await self._connection.fetch(QUERIES.forget_expired_tokens, now - FORGET_AFTER, FORGET_TOKENS)
        await self._connection.execute(QUERIES.forget_empty_families, [row["family_id"] for row in rows])
