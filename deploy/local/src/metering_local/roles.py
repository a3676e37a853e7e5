"""The databases and their roles: an owner that migrates, services that may do what the migrations grant them."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass


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


def random_passwords() -> dict[str, str]:
    """A fresh password for each role, safe in a URL."""
    return {role: secrets.token_urlsafe(24) for role in ROLES}


def roles_sql(passwords: Mapping[str, str]) -> str:
    """Make or mend all roles; harmless when they are there."""
    return "".join(_role_sql(role, password) for role, password in passwords.items())


def databases_sql() -> str:
    """Make the databases that are missing and close them to everybody but their own roles."""
    return "".join(_database_sql(database) for database in DATABASES)


def _role_sql(role: str, password: str) -> str:
    return (
        f"SELECT 'CREATE ROLE {role}' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec\n"  # noqa: S608  names of this file
        f"ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '{password}';\n"
    )


def _database_sql(database: Database) -> str:
    name, roles = database.name, ", ".join(database.roles)
    return (
        f"SELECT 'CREATE DATABASE {name} OWNER {database.owner}'"  # noqa: S608  as above
        f" WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}') \\gexec\n"
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n"
        f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {roles};\n"
    )
