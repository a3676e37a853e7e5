"""Fixtures for the writer's tests: a migrated storage database, and validated records as the validator makes them."""

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pydantic import SecretStr
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.network import Network

from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_common.service.settings import KafkaSettings
from metering_local.postgres import PostgresServer
from metering_local.postgres_user import binaries, has_timescaledb
from metering_local.testing import FreshDatabase, make_database
from metering_writer.adapters.store import PostgresStore
from metering_writer.flavour import ask_flavour
from metering_writer.settings import WriterSettings
from metering_writer.testing import BatchValidator
from metering_writer.testing_flavours import (
    KEEP_EVERYTHING,
    ROLES,
    Storage,
    as_json,
    catch_up_at,
    in_thread,
    migrate,
    migrations,
    up_script,
    wasm_timescale,
)


@pytest.fixture
def storage(database: FreshDatabase) -> FreshDatabase:
    """A fresh database with the schema of the server's flavour: plain, unless METERING_POSTGRES_PREFIX says so."""
    migrate(database.owner_dsn)
    database.sql(KEEP_EVERYTHING)
    return database


@pytest.fixture(scope="module")
def module_storage(postgres_server: PostgresServer) -> Iterator[FreshDatabase]:
    """As `storage`, for all tests of a file that use devices of their own."""
    database = make_database(postgres_server)
    migrate(database.owner_dsn)
    database.sql(KEEP_EVERYTHING)
    yield database
    postgres_server.sql(f"DROP DATABASE {database.name} WITH (FORCE);")


@pytest.fixture
async def pool(storage: FreshDatabase) -> AsyncIterator[TimedPool]:
    """Connections as the writer has them."""
    async with postgres.pool(storage.dsn_for("storage_writer"), application_name="metering-writer-test") as opened:
        yield opened


@pytest.fixture
async def new_store(pool: TimedPool) -> Callable[..., PostgresStore]:
    """A store for whatever server the tests were given: how patient it is and what it owns is to be said."""
    return partial(PostgresStore, pool, hypertables=await ask_flavour(pool) != "plain")


@pytest.fixture
async def owner(storage: FreshDatabase) -> AsyncIterator[TimedPool]:
    """Connections as the tables' owner, who may do what the writer may not."""
    async with postgres.pool(storage.owner_dsn, application_name="owner") as opened:
        yield opened


@pytest.fixture
def validate(kafka: KafkaSettings) -> BatchValidator:
    return BatchValidator(kafka)


@pytest.fixture
def settings(storage: FreshDatabase, kafka: KafkaSettings, unused_tcp_port: int) -> WriterSettings:
    """Short times, so that tests are."""
    return WriterSettings(
        database_url=storage.dsn_for("storage_writer"),
        admin_host="127.0.0.1",
        admin_port=unused_tcp_port,
        kafka=kafka,
        batch_seconds=0.05,
        session_timeout_seconds=6,
        lock_wait_seconds=0.5,
        lease_seconds=1,
    )


def server_flavour() -> str:
    return "timescale" if has_timescaledb() else "plain"


class ServerStorage:
    """A flavour on a PostgreSQL server, as whoever may do everything there."""

    def __init__(self, flavour: str, sql: Callable[[str], str], dsn: SecretStr) -> None:
        self.flavour = flavour
        self._sql, self._dsn = sql, dsn

    def execute(self, script: str) -> None:
        self._sql(f"SET client_min_messages = warning;\n{script};")

    def rows(self, query: str) -> list[dict[str, Any]]:
        return list(json.loads(self._sql(f"{as_json(query)};")))

    def refresh(self) -> None:
        in_thread(catch_up_at(self._dsn))


@pytest.fixture(scope="session")
def server_storage(postgres_server: PostgresServer) -> Iterator[Storage]:
    """One for the session: its tests use devices of their own. As `storage`, of the server's flavour."""
    database = make_database(postgres_server)
    migrate(database.owner_dsn)
    yield ServerStorage(server_flavour(), database.sql, database.dsn_for("storage_writer"))
    postgres_server.sql(f"DROP DATABASE {database.name} WITH (FORCE);")


@pytest.fixture(scope="session")
def docker_storage(timescaledb_image: str) -> Iterator[Storage]:
    """TimescaleDB in the image of docker-compose.yml, where Docker is; an engine may be without its default network."""
    with Network() as network, PostgresContainer(timescaledb_image, driver=None, network=network) as container:
        dsn = container.get_connection_url()

        def sql(script: str) -> str:
            command = [str(binaries() / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", dsn]
            return subprocess.run(command, input=script, capture_output=True, text=True, check=True).stdout

        sql("".join(f"CREATE ROLE {role} LOGIN;" for role in ROLES) + "CREATE EXTENSION IF NOT EXISTS timescaledb;")
        migrate(SecretStr(dsn), "timescale")
        yield ServerStorage("timescale", sql, SecretStr(dsn))


@pytest.fixture(scope="session")
def timescale_storage() -> Iterator[Storage]:
    """One for the session: its tests use devices of their own."""
    with wasm_timescale() as storage:
        for file in migrations("timescale"):
            storage.execute(up_script(file))
        yield storage


@pytest.fixture(params=["server", "timescale", pytest.param("docker", marks=pytest.mark.docker)])
def either(request: pytest.FixtureRequest) -> Storage:
    """Plain on the server, TimescaleDB in WASM, TimescaleDB as released where Docker is: the same names and results."""
    chosen: Storage = request.getfixturevalue(f"{request.param}_storage")
    return chosen
