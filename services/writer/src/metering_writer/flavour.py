"""Which flavour of the schema a database has: asked of the server, never configured."""

from pathlib import Path
from typing import Protocol

from metering_writer.queries import sql

OLDEST_TIMESCALEDB = (2, 27)
MIGRATIONS = Path(__file__).parents[2] / "migrations"


class WrongFlavourError(Exception):
    """The server and the schema do not fit, or the server's TimescaleDB is too old; the text says what to do."""


class Session(Protocol):
    """What is asked of an asyncpg connection."""

    async def fetchval(self, query: str) -> object: ...


async def ask_flavour(session: Session) -> str:
    """`timescale` where the extension is in this database, else `plain`: also the name of the migrations' folder."""
    return "plain" if await session.fetchval(sql.flavour) is None else "timescale"


async def check_flavour(session: Session, *, allow_old: bool) -> str:
    """`plain`, or `timescale` and its version. Raises `WrongFlavourError`."""
    version = await session.fetchval(sql.flavour)
    if version is None:
        return "plain"
    if not await session.fetchval(sql.has_hypertable):
        raise WrongFlavourError(
            "the database has TimescaleDB but its tables are plain: move the data to one that was migrated with it "
            "(docs/operating-storage.md)"
        )
    refuse_old(str(version), allow_old=allow_old)
    return f"timescale {version}"


def refuse_old(version: str, *, allow_old: bool) -> None:
    """Upserts into compressed chunks lost rows in 2.17 and were slow before 2.20. Raises `WrongFlavourError`."""
    numbers = tuple(int(part) for part in version.split("-", maxsplit=1)[0].split(".")[:2])
    if numbers < OLDEST_TIMESCALEDB and not allow_old:
        raise WrongFlavourError(
            f"TimescaleDB {version} is too old: 2.27 is needed, or WRITER_ALLOW_OLD_TIMESCALEDB=true"
        )
