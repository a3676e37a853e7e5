"""Fixtures with a real Kafka and a real PostgreSQL, for tests of every station on the data path.

A server is started once per session and shared; what a test finds in it is its own: `kafka` makes all topics again,
`database` is empty. Tests that hurt a server take `own_kafka` or `own_postgres`. Nothing is skipped when a server does
not start: the test fails.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from metering_common.contract import topics
from metering_common.service.settings import KafkaSettings
from metering_jobs.databases import DATABASES, ROLES
from metering_local import kafka as local_kafka
from metering_local import postgres as local_postgres
from metering_local.kafka import KafkaServer
from metering_local.postgres import PostgresServer
from metering_local.postgres_user import has_timescaledb

TEST_OWNER = "test_owner"
POLL_SECONDS = 0.02
LED_SECONDS = 60


@dataclass(frozen=True)
class FreshDatabase:
    """An empty database, made for one test and dropped after it."""

    server: PostgresServer
    name: str

    @property
    def owner_dsn(self) -> SecretStr:
        """For migrations: a plain owner, no superuser, and a member of each service's owner role."""
        return self.dsn_for(TEST_OWNER)

    def dsn_for(self, role: str) -> SecretStr:
        """For one of metering_jobs.databases.ROLES, which may connect and may do what the migrations grant it."""
        return SecretStr(self.server.dsn(role, self.name))

    def sql(self, script: str) -> str:
        """Run SQL as the superuser; what it selects, one row a line."""
        return self.server.sql(script, self.name)


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One broker for the session."""
    with local_kafka.start(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture
async def kafka(kafka_server: KafkaServer) -> KafkaSettings:
    """All topics of the contracts, freshly made, on the session's broker."""
    settings = kafka_settings(kafka_server)
    await delete_topics(settings)
    await topics.apply(settings)
    await until_led(settings)
    return settings


@pytest.fixture
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker for one test that hurts it; without topics."""
    with local_kafka.start(tmp_path_factory.mktemp("own-kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """One server with all roles for the session."""
    with local_postgres.start(tmp_path_factory.mktemp("postgres")) as server:
        make_test_owner(server)
        yield server


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[FreshDatabase]:
    """A fresh empty database on the session's server."""
    with_database = make_database(postgres_server)
    yield with_database
    postgres_server.sql(f"DROP DATABASE {with_database.name} WITH (FORCE);")


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server for one test that hurts it; `make_database` makes its databases."""
    with local_postgres.start(tmp_path_factory.mktemp("own-postgres")) as server:
        make_test_owner(server)
        yield server


def kafka_settings(server: KafkaServer) -> KafkaSettings:
    """How a client reaches the broker, with the laptop's row of the contracts."""
    return KafkaSettings(bootstrap_servers=server.bootstrap, environment="laptop")


async def delete_topics(settings: KafkaSettings) -> None:
    """Delete every topic but Kafka's own and wait until they are gone; so are their groups' offsets."""
    async with topics.open_admin(settings) as client:
        while names := [name for name in await client.list_topics() if not name.startswith("__")]:
            await client.delete_topics(names)
            await asyncio.sleep(POLL_SECONDS)


async def until_led(settings: KafkaSettings) -> None:
    """A topic is made by the controller; the broker leads it a moment later, and clients would trip over that."""
    contracts = topics.load_contracts().values()
    partitions = [
        TopicPartition(contract.topic, number)
        for contract in contracts
        for number in range(contract.environments[settings.environment].partitions)
    ]
    client = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, retry_backoff_ms=20)
    client.assign(partitions)
    await client.start()
    try:
        async with asyncio.timeout(LED_SECONDS):
            await client.end_offsets(partitions)
    finally:
        await client.stop()


def make_test_owner(server: PostgresServer) -> None:
    """The role behind `FreshDatabase.owner_dsn`."""
    owners = ", ".join(database.owner for database in DATABASES)
    password = server.add_role(TEST_OWNER)
    server.sql(f"CREATE ROLE {TEST_OWNER} LOGIN NOSUPERUSER PASSWORD '{password}'; GRANT {owners} TO {TEST_OWNER};")


def make_database(server: PostgresServer) -> FreshDatabase:
    """An empty database that only the platform's roles may connect to."""
    name = f"test_{uuid4().hex}"
    roles = ", ".join(ROLES)
    server.sql(
        f"CREATE DATABASE {name} OWNER {TEST_OWNER} STRATEGY file_copy;\n"
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n"
        f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {roles};"
    )
    database = FreshDatabase(server, name)
    if has_timescaledb():
        database.sql("SET client_min_messages = warning; CREATE EXTENSION timescaledb;")
    return database
