"""The writer's connection to the TimescaleDB in WASM: asyncpg's face, as far as one transaction of the store needs it.

asyncpg itself does not get its COPY through that server; the statements, the bytes and their order are the same.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from metering_writer.testing_flavours import WasmTimescale


class WasmPool:
    """One session at a time."""

    def __init__(self, storage: WasmTimescale) -> None:
        self._session = WasmSession(storage)

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["WasmSession"]:
        yield self._session


class WasmSession:
    """`adapters.session.Session`."""

    def __init__(self, storage: WasmTimescale) -> None:
        self._storage = storage

    def add_termination_listener(self, listener: object) -> None: ...

    def remove_termination_listener(self, listener: object) -> None: ...

    def transaction(self, *, isolation: str = "read_committed") -> "_Transaction":
        return _Transaction(self._storage, isolation.replace("_", " "))

    async def execute(self, query: str, *arguments: object) -> None:
        self._storage.execute(filled(query, arguments))

    async def executemany(self, query: str, each: Iterable[Sequence[object]]) -> None:
        for arguments in each:
            await self.execute(query, *arguments)

    async def fetch(self, query: str, *arguments: object) -> list[dict[str, Any]]:
        """What changes rows and returns them is no part of a query, but may stand before it."""
        query = filled(query, arguments)
        if "RETURNING" in query or "FOR UPDATE" in query:
            rows = self._storage.returned(query)
        else:
            rows = self._storage.rows(query)
        return [{name: _typed(name, value) for name, value in row.items()} for row in rows]

    async def copy_to_table(
        self,
        table: str,
        *,
        source: AsyncIterable[bytes],
        columns: Sequence[str],
        format: str,  # noqa: A002  asyncpg's
    ) -> None:
        data = b"".join([piece async for piece in source])
        self._storage.copy(f"COPY {table} ({', '.join(columns)}) FROM '/dev/blob' WITH (FORMAT {format})", data)

    async def copy_from_query(
        self,
        query: str,
        *arguments: object,
        output: Callable[[bytes], Awaitable[None]],
        format: str,  # noqa: A002
    ) -> None:
        await output(self._storage.copy(f"COPY ({filled(query, arguments)}) TO '/dev/blob' WITH (FORMAT {format})"))

    async def copy_records_to_table(
        self, table: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> None:
        names = ", ".join(f'"{column}"' for column in columns)
        rows = ", ".join(f"({', '.join(literal(value) for value in record)})" for record in records)
        self._storage.execute(f"INSERT INTO {table} ({names}) VALUES {rows}")  # noqa: S608  tests' own


class _Transaction:
    """As asyncpg's: a context, or begun and taken back by hand."""

    def __init__(self, storage: WasmTimescale, isolation: str) -> None:
        self._storage, self._isolation = storage, isolation

    async def start(self) -> None:
        self._storage.execute(f"BEGIN ISOLATION LEVEL {self._isolation}")

    async def rollback(self) -> None:
        self._storage.execute("ROLLBACK")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, error_type: object, *_: object) -> None:
        self._storage.execute("COMMIT" if error_type is None else "ROLLBACK")


def filled(query: str, arguments: Sequence[object]) -> str:
    """The query with its arguments in the place of $1, $2, …, the last first, since $1 begins $10."""
    for number in range(len(arguments), 0, -1):
        query = query.replace(f"${number}", literal(arguments[number - 1]))
    return query


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        inner = ",".join("NULL" if one is None else f'"{_text(one)}"' for one in value)
        return f"'{{{inner}}}'"
    return f"'{_text(value)}'"


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value).replace("'", "''")


def _typed(name: str, value: Any) -> Any:
    return UUID(value) if name == "batch_id" and value else value
