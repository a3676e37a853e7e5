"""The roles of the databases in which measures end, on the servers of this machine: random passwords, made by psql."""

import secrets
from collections.abc import Mapping

from metering_jobs.databases import ROLES


def random_passwords() -> dict[str, str]:
    """A fresh password for each role, safe in a URL."""
    return {role: secrets.token_urlsafe(24) for role in ROLES}


def roles_sql(passwords: Mapping[str, str]) -> str:
    """Make all roles on a server that has none yet."""
    terms = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD"
    return "".join(f"CREATE ROLE {role} {terms} '{password}';\n" for role, password in passwords.items())
