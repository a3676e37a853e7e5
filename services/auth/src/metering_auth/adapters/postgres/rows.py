"""Statements that always give a row: the one place that says so to the reader and to mypy."""

import asyncpg
from asyncpg.pool import PoolConnectionProxy

Connection = asyncpg.Connection | PoolConnectionProxy


async def one_row(executor: Connection | asyncpg.Pool, query: str, *arguments: object) -> asyncpg.Record:
    """The statement's one row; raises LookupError if there is none."""
    row = await executor.fetchrow(query, *arguments)
    if row is None:
        raise LookupError("a statement that always gives a row gave none")
    return row
