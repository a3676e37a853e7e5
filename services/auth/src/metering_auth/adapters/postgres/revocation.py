"""The instant of a revocation: after every token that was being issued, and before every one issued from now on."""

import asyncio
import time

from metering_auth.adapters.postgres.documents import QUERIES as REGISTRY_QUERIES
from metering_auth.adapters.postgres.rows import Connection
from metering_auth.adapters.postgres.signing_keys import QUERIES
from metering_auth.application.instants import Instants, database_clock

ASK_SECONDS = 0.05


class RevocationInstant:
    """The database's clock, read while no token of the provider is being issued."""

    def __init__(self, instants: Instants = database_clock) -> None:
        self._instants = instants

    async def __call__(self, connection: Connection, provider_id: int) -> int:
        """Unix seconds; to be called in the transaction that stores it."""
        await connection.execute(QUERIES.hold_off_refreshes, provider_id)
        return int((await connection.fetchval(QUERIES.now, self._instants())).timestamp())


async def wait_past(connection: Connection, second: int) -> None:
    """Returns when the database's clock has left that second: a token issued after that is valid."""
    while await _second(connection) <= second:  # noqa: ASYNC110  what is awaited is the database's clock
        await asyncio.sleep(ASK_SECONDS)


async def wait_published(connection: Connection, key: str, timeout_seconds: float) -> bool:
    """Whether the relay has published all that waits for this registry key."""
    give_up_at = time.monotonic() + timeout_seconds
    while await connection.fetchval(REGISTRY_QUERIES.is_pending, [key]):
        if time.monotonic() >= give_up_at:
            return False
        await asyncio.sleep(ASK_SECONDS)
    return True


async def _second(connection: Connection) -> int:
    return int((await connection.fetchval(QUERIES.now, None)).timestamp())
