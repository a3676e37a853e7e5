"""How a service reaches its PostgreSQL: a pool in which nothing waits for ever."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from asyncpg.pool import PoolAcquireContext
from pydantic import SecretStr

from metering_common.service.metrics import PoolMetrics
from metering_common.service.retry import RefusedError, RetryPolicy

CLIENT_MARGIN_SECONDS = 5.0
"""A server that is stopped keeps no timeout of its own: the client gives a statement up this much later."""
_UNREACHABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)


UNAVAILABLE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a statement raises while the database is away or refuses it."""


class TimedPool(asyncpg.Pool):
    """asyncpg's pool, except that `acquire()` without a timeout gives up too (TimeoutError).

    A session is taken back without a question to the server: nothing of ours changes its settings, holds its locks
    beyond a transaction or listens. A transaction left open is rolled back.
    """

    def __init__(self, dsn: str, *, acquire_seconds: float, min_size: int, max_size: int, **connect: Any) -> None:
        super().__init__(
            dsn,
            min_size=min_size,
            max_size=max_size,
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            setup=None,
            init=None,
            reset=_left_as_it_is,
            loop=None,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            **connect,
        )
        self._acquire_seconds = acquire_seconds

    def acquire(self, *, timeout: float | None = None) -> "PoolAcquireContext[asyncpg.Record]":
        return super().acquire(timeout=self._acquire_seconds if timeout is None else timeout)


async def _left_as_it_is(_session: object) -> None:
    pass


@asynccontextmanager
async def pool(
    dsn: SecretStr,
    *,
    application_name: str,
    min_size: int = 1,
    max_size: int = 5,
    statement_timeout_seconds: float = 30,
    lock_timeout_seconds: float = 5,
    acquire_timeout_seconds: float = 5,
    close_timeout_seconds: float = 5,
    retry: RetryPolicy | None = None,
    metrics: PoolMetrics | None = None,
) -> AsyncIterator[TimedPool]:
    """An open pool, measured under its application's name.

    A server that is away is asked again as `retry` says, then its error is raised; a wrong password at once.
    """
    connect = {
        "timeout": acquire_timeout_seconds,
        "command_timeout": statement_timeout_seconds + CLIENT_MARGIN_SECONDS,
        "server_settings": {
            "application_name": application_name,
            "statement_timeout": _milliseconds(statement_timeout_seconds),
            "lock_timeout": _milliseconds(lock_timeout_seconds),
            "idle_in_transaction_session_timeout": _milliseconds(statement_timeout_seconds),
        },
    }

    def closed_pool() -> TimedPool:
        return TimedPool(
            dsn.get_secret_value(),
            acquire_seconds=acquire_timeout_seconds,
            min_size=min_size,
            max_size=max_size,
            **connect,
        )

    opened = await (retry or RetryPolicy()).until(lambda: _open(closed_pool()), _UNREACHABLE)
    if metrics is not None:
        metrics.watch(application_name, opened)
    try:
        yield opened
    finally:
        await _close(opened, close_timeout_seconds)


async def _open(candidate: TimedPool) -> TimedPool:
    try:
        await candidate
    except ssl.SSLCertVerificationError as error:
        candidate.terminate()
        raise RefusedError(f"PostgreSQL's certificate is not trusted: {error}") from error
    except BaseException:
        candidate.terminate()
        raise
    return candidate


async def _close(opened: TimedPool, seconds: float) -> None:
    """Waits for connections in use, but not for ever."""
    try:
        async with asyncio.timeout(seconds):
            await opened.close()
    except TimeoutError:
        opened.terminate()


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1_000))
