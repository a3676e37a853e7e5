"""Brings one database to this release's schema, before the services that pass measures through it are started."""

import subprocess
import sys
from pathlib import Path

import asyncpg
from pydantic import SecretStr

DBMATE = Path(sys.executable).parent / "dbmate"
FOLDERS = {
    "auth": ("auth/migrations",),
    "storage": ("writer/migrations/common", "writer/migrations/{flavour}"),
    "ecl": ("ecl-poller/migrations",),
}
"""Where each database's migrations lie under `services/`."""


async def migrate(name: str, url: SecretStr, services: Path) -> int:
    """Run what has not run yet; dbmate's exit status. `url` is the database owner's, with its `sslmode`."""
    flavour = await ask_flavour(url)
    folders = [str(services / folder.format(flavour=flavour)) for folder in FOLDERS[name]]
    where = [part for folder in folders for part in ("--migrations-dir", folder)]
    command = [str(DBMATE), "--no-dump-schema", *where, "migrate"]
    return subprocess.run(command, env={"DATABASE_URL": url.get_secret_value()}, check=False).returncode  # noqa: S603, ASYNC221  nothing else runs here


async def ask_flavour(url: SecretStr) -> str:
    """`timescale` where the extension is in this database, else `plain`: asked of the server, as the writer does."""
    connection = await asyncpg.connect(url.get_secret_value())
    try:
        found = await connection.fetchval("SELECT true FROM pg_extension WHERE extname = 'timescaledb'")
    finally:
        await connection.close()
    return "timescale" if found else "plain"
