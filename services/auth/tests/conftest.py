"""Fixtures of auth's tests: a migrated database, a pool as the service's role, and the service itself on free ports."""

import base64
import os
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from metering_auth.bootstrap import AuthService, build
from metering_auth.settings import AuthSettings
from metering_common import postgres
from metering_common.postgres import TimedPool
from metering_common.settings import KafkaSettings
from metering_local.testing import FreshDatabase

MIGRATIONS = Path(__file__).parents[1] / "migrations"
MASTER_KEY = SecretStr(base64.urlsafe_b64encode(bytes(range(32))).decode())

MakeSettings = Callable[..., AuthSettings]
StartAuth = Callable[..., AbstractAsyncContextManager[AuthService]]


def migrate(dsn: SecretStr) -> None:
    """As production does it: dbmate, as a plain owner."""
    url = dsn.get_secret_value()
    url += "&sslmode=disable" if "?" in url else "?sslmode=disable"
    command = [str(Path(sys.executable).with_name("dbmate")), "--url", url, "--migrations-dir", str(MIGRATIONS), "--no-dump-schema", "up"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def auth_database(database: FreshDatabase) -> FreshDatabase:
    """A fresh database with auth's tables."""
    migrate(database.owner_dsn)
    return database


@pytest.fixture
async def pool(auth_database: FreshDatabase) -> AsyncIterator[TimedPool]:
    """As the service's role: what it may not do, tests may not either."""
    async with postgres.pool(auth_database.dsn_for("auth_service"), application_name="test", max_size=10) as opened:
        yield opened


@pytest.fixture
def auth_settings(auth_database: FreshDatabase, kafka: KafkaSettings) -> MakeSettings:
    """Settings of a service on free ports; a test may say otherwise."""
    return partial(
        AuthSettings,
        database_url=auth_database.dsn_for("auth_service"),
        key_encryption_key=MASTER_KEY,
        http_host="127.0.0.1",
        http_port=0,
        admin_host="127.0.0.1",
        admin_port=0,
        public_url="https://auth.example",
        kafka=kafka,
    )


@pytest.fixture
def start_auth(auth_settings: MakeSettings) -> StartAuth:
    """The service in this process: `async with start_auth(key_publish_seconds=1) as service`."""

    def start(**changed: object) -> AbstractAsyncContextManager[AuthService]:
        return build(auth_settings(**changed))

    return start


Admin = Callable[..., Any]


@pytest.fixture
def admin(auth_database: FreshDatabase) -> Admin:
    """metering-admin in a process of its own, as operations runs it; what it prints with --json."""
    environment = os.environ | {
        "AUTH_DATABASE_URL": auth_database.dsn_for("auth_service").get_secret_value(),
        "AUTH_KEY_ENCRYPTION_KEY": MASTER_KEY.get_secret_value(),
    }

    def run(*arguments: str) -> Any:
        command = [sys.executable, "-m", "metering_auth.cli", *arguments, "--json"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"{arguments}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    return run
