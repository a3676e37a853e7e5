"""The poller's fixtures: the emulator with a client, and the poller with registry, database and emulated portal."""

import base64
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from metering_common.service.settings import KafkaSettings
from metering_ecl_poller.settings import PollerSettings
from metering_local.testing import FreshDatabase
from tests.emulators.ecl_portal.connected import ConnectedPortal, connect

MIGRATIONS = Path(__file__).parents[1] / "migrations"
DBMATE = Path(sys.executable).parent / "dbmate"


@pytest.fixture
async def connected() -> AsyncIterator[ConnectedPortal]:
    async with connect() as portal:
        yield portal


@pytest.fixture
def ecl_database(database: FreshDatabase) -> FreshDatabase:
    """A fresh database with the poller's tables, made as production makes them."""
    arguments = ["--url", f"{database.owner_dsn.get_secret_value()}?sslmode=disable", "-d", str(MIGRATIONS)]
    done = subprocess.run(
        [str(DBMATE), *arguments, "--no-dump-schema", "up"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return database


@pytest.fixture
def poller_settings(ecl_database: FreshDatabase, kafka: KafkaSettings) -> PollerSettings:
    """Short pauses, so that tests are short; long retry, so that a busy machine is no fault of the portal's."""
    return PollerSettings(
        database_url=ecl_database.dsn_for("ecl_service"),
        key_encryption_key=SecretStr(base64.urlsafe_b64encode(bytes(32)).decode()),
        admin_host="127.0.0.1",
        admin_port=0,
        idle_seconds=0.05,
        lease_seconds=60,
        request_timeout_seconds=60,
        drain_seconds=30,
        kafka=kafka,
    )
