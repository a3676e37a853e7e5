"""The databases in which measures and their registry end, and their roles: made or mended by a superuser, once.

An owner migrates, services may do what the migrations grant them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
from pydantic import SecretStr


@dataclass(frozen=True)
class Database:
    """One service's database: the role that owns its tables and the roles that work with them."""

    name: str
    owner: str
    roles: tuple[str, ...]


DATABASES = (
    Database("auth", "auth_owner", ("auth_service",)),
    Database("storage", "storage_owner", ("storage_writer", "storage_reader")),
    Database("ecl", "ecl_owner", ("ecl_service",)),
)
ROLES = tuple(role for database in DATABASES for role in (database.owner, *database.roles))


async def make_databases(url: SecretStr, passwords: Mapping[str, SecretStr]) -> None:
    """Make what is missing and set every role's password; harmless when all is there. `url` is a superuser's."""
    connection = await asyncpg.connect(url.get_secret_value())
    try:
        for role, password in passwords.items():
            await _make_role(connection, role, password)
        for database in DATABASES:
            await _make_database(connection, database)
    finally:
        await connection.close()
    await _add_timescaledb(url)


async def _make_role(connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: SecretStr) -> None:
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(f"CREATE ROLE {role}")
    terms = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD"
    quoted = "'" + password.get_secret_value().replace("'", "''") + "'"
    async with connection.transaction():
        await connection.execute("SET LOCAL log_statement = 'none'")  # or the password would be in the server's log
        await connection.execute(f"ALTER ROLE {role} {terms} {quoted}")


async def _make_database(connection: "asyncpg.Connection[asyncpg.Record]", database: Database) -> None:
    if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database.name):
        await connection.execute(f"CREATE DATABASE {database.name} OWNER {database.owner}")
    await connection.execute(f"REVOKE ALL ON DATABASE {database.name} FROM PUBLIC")
    roles = ", ".join(database.roles)
    await connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {database.name} TO {roles}")


async def _add_timescaledb(url: SecretStr) -> None:
    """Only where the server offers it, before the first migration: the flavour of the schema is decided by it."""
    connection = await asyncpg.connect(url.get_secret_value(), database="storage")
    try:
        if await connection.fetchval("SELECT true FROM pg_available_extensions WHERE name = 'timescaledb'"):
            await connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    finally:
        await connection.close()
