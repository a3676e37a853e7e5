"""A storage database with the writer's schema, by its migrations: the prober imports no service."""

import subprocess
from collections.abc import AsyncIterator

import pytest

from metering_common import postgres
from metering_common.postgres import TimedPool
from metering_local.checkout import PROGRAMS, ROOT
from metering_local.testing import FreshDatabase


@pytest.fixture
def storage(database: FreshDatabase) -> FreshDatabase:
    """With the tables of plain PostgreSQL, or of TimescaleDB where the server has it."""
    flavour = (
        "timescale"
        if database.sql("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'") == "1"
        else "plain"
    )
    folders = [f"services/writer/migrations/{part}" for part in ("common", flavour)]
    where = [part for folder in folders for part in ("--migrations-dir", str(ROOT / folder))]
    url = f"{database.owner_dsn.get_secret_value()}?sslmode=disable"
    command = [str(PROGRAMS / "dbmate"), "--url", url, "--no-dump-schema", *where, "up"]
    subprocess.run(command, check=True, capture_output=True)
    return database


@pytest.fixture
async def reader(storage: FreshDatabase) -> AsyncIterator[TimedPool]:
    """What the prober has: the read-only role."""
    async with postgres.pool(storage.dsn_for("storage_reader"), application_name="prober-test") as opened:
        yield opened
