"""The prober as an analyst: its own series read from SQL with the read-only role."""

from collections.abc import Callable, Mapping

import asyncpg

from metering_common.postgres.pool import TimedPool
from metering_common.postgres.queries import load_queries
from metering_prober.application import UnreadableError
from metering_prober.domain.series import Stored

QUERIES = load_queries("metering_prober.adapters")
FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class SqlReadback:
    """`application.Readback`. `device_id` is asked each time: it is known after the first measure."""

    def __init__(self, pool: TimedPool, device_id: Callable[[], int | None], sensor: str) -> None:
        self._pool, self._device_id, self._sensor = pool, device_id, sensor

    async def has(self, instant: int) -> bool:
        try:
            return bool(await self._pool.fetchval(QUERIES.stored_at, self._device_id(), self._sensor, float(instant)))
        except FAILURES as error:
            raise UnreadableError(repr(error)) from error

    async def since(self, instant: int) -> Mapping[int, Stored]:
        try:
            rows = await self._pool.fetch(QUERIES.stored_since, self._device_id(), self._sensor, float(instant))
        except FAILURES as error:
            raise UnreadableError(repr(error)) from error
        return {row["instant"]: Stored(row["value"], row["quality"]) for row in rows}
