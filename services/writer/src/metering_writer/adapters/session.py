"""What the adapters that run SQL are given: a connection, pooled or not."""

from typing import TypeAlias

import asyncpg

Session: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
