"""Fixtures for the writer's tests: a migrated storage database, and judged records as the validator makes them."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from metering_common import postgres
from metering_common.postgres import TimedPool
from metering_common.settings import KafkaSettings
from metering_local.testing import FreshDatabase
from metering_writer.flavour import MIGRATIONS
from metering_writer.settings import WriterSettings
from metering_writer.testing import Judge

DBMATE = Path(sys.executable).parent / "dbmate"


def migrate(dsn: SecretStr, flavour: str = "plain", command: str = "up") -> None:
    """The schema of one flavour, by the kept tool."""
    folders = [argument for folder in ("common", flavour) for argument in ("-d", str(MIGRATIONS / folder))]
    url = f"{dsn.get_secret_value()}?sslmode=disable"
    arguments = [str(DBMATE), "--url", url, "--no-dump-schema", *folders, command]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def storage(database: FreshDatabase) -> FreshDatabase:
    """A fresh database with the plain flavour's schema."""
    migrate(database.owner_dsn)
    return database


@pytest.fixture
async def pool(storage: FreshDatabase) -> AsyncIterator[TimedPool]:
    """Connections as the writer has them."""
    async with postgres.pool(storage.dsn_for("storage_writer"), application_name="metering-writer-test") as opened:
        yield opened


@pytest.fixture
def judge(kafka: KafkaSettings) -> Judge:
    return Judge(kafka)


@pytest.fixture
def settings(storage: FreshDatabase, kafka: KafkaSettings) -> WriterSettings:
    """Short times, so that tests are."""
    return WriterSettings(
        database_url=storage.dsn_for("storage_writer"),
        admin_host="127.0.0.1",
        admin_port=0,
        kafka=kafka,
        batch_seconds=0.05,
        session_timeout_seconds=6,
        lock_patience_seconds=0.5,
        lease_seconds=1,
    )
