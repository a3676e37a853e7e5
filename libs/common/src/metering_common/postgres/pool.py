"""How a service reaches its PostgreSQL: a pool in which nothing waits for ever, and SQL kept in .sql files."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files
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


class Queries(Mapping[str, str]):
    """Named queries, as attributes or by key."""

    def __init__(self, queries: dict[str, str]) -> None:
        self._queries = queries

    def __getattr__(self, name: str) -> str:
        try:
            return self._queries[name]
        except KeyError:
            raise AttributeError(f"no query is named {name}") from None

    def __getitem__(self, name: str) -> str:
        return self._queries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._queries)

    def __len__(self) -> int:
        return len(self._queries)


_QUERY = re.compile(r"^-- name: *(\w+) *\n((?:--[^\n]*\n)*)(.*?)(?=^-- name:|\Z)", re.MULTILINE | re.DOTALL)


def load_queries(package: str, file: str = "queries.sql") -> Queries:
    """The queries of a package's file: each `-- name: x`, then a sentence as a comment, then the statement.

    Raises ValueError for a query without a sentence, without a statement, or named twice.
    """
    return parse_queries((files(package) / file).read_text("utf-8"))


def parse_queries(text: str) -> Queries:
    """As `load_queries`, from the text."""
    queries: dict[str, str] = {}
    for name, sentence, statement in _QUERY.findall(text):
        if not sentence.strip("- \n") or not statement.strip():
            raise ValueError(f"query {name} needs a sentence and a statement")
        if name in queries:
            raise ValueError(f"two queries are named {name}")
        queries[name] = statement.strip().removesuffix(";")
    return Queries(queries)
