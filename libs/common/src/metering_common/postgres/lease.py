"""One process at a time does a work: the one that holds a row of the table `lease`, by the database's clock.

Each service's migrations make the table in its own database: `lease (name text PRIMARY KEY, holder uuid NOT NULL,
expires_at timestamptz NOT NULL)`.
"""

from collections.abc import Callable
from typing import TypeAlias
from uuid import UUID, uuid4

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from metering_common.postgres.pool import TimedPool
from metering_common.postgres.queries import load_queries

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"

_SQL = load_queries("metering_common.postgres", "lease.sql")


class LeaseLostError(Exception):
    """Another process holds the lease now."""


class Lease:
    """One process as holder or candidate; `monotonic` is in seconds and decides only when to renew."""

    def __init__(
        self,
        pool: TimedPool,
        name: str,
        *,
        seconds: float,
        renew_seconds: float,
        monotonic: Callable[[], float],
        holder: UUID | None = None,
    ) -> None:
        self._pool, self._name, self._seconds = pool, name, seconds
        self._renew_seconds, self._monotonic = renew_seconds, monotonic
        self._renew_at = 0.0
        self.holder = holder or uuid4()

    async def take(self) -> bool:
        """Gets or renews it; False while another process holds it."""
        asked_at = self._monotonic()
        taken = bool(await self._pool.fetchval(_SQL.take, self._name, self.holder, self._seconds))
        if taken:
            self._renew_at = asked_at + self._renew_seconds
        return taken

    async def keep(self) -> bool:
        """Renews it when that is due; whether it was. Raises `LeaseLostError`."""
        if self._monotonic() < self._renew_at:
            return False
        if not await self.take():
            raise LeaseLostError(self._name)
        return True

    async def hold(self, connection: Connection) -> None:
        """Nobody else gets it until the connection's transaction has ended. Raises `LeaseLostError`."""
        if not await connection.fetchval(_SQL.hold, self._name, self.holder):
            raise LeaseLostError(self._name)

    async def give_back(self) -> None:
        """Another process may take it at once."""
        await self._pool.execute(_SQL.give_back, self._name, self.holder)
