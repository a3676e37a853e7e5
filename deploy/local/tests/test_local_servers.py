"""The servers that all other tests stand on: real, fresh for each test, hurt and recovered."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from metering_common.service.settings import KafkaSettings
from metering_local import process
from metering_local.kafka import KafkaServer
from metering_local.postgres import PostgresServer
from metering_local.testing import FreshDatabase, make_database


async def topics(settings: KafkaSettings) -> set[str]:
    client = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await client.start()
    try:
        return set(await client.list_topics())
    finally:
        await client.close()


async def produce(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def consume_one(bootstrap: str, topic: str) -> bytes:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with consumer, asyncio.timeout(20):
        return bytes((await consumer.getone()).value)


async def test_all_topics_of_the_contracts_are_there(kafka: KafkaSettings) -> None:
    assert {"measurements.raw.v1", "measurements.validated.v1", "registry.v1"} <= await topics(kafka)


@pytest.mark.parametrize("value", [b"one", b"two"])
async def test_topics_are_fresh_for_each_test(kafka: KafkaSettings, value: bytes) -> None:
    await produce(kafka.bootstrap_servers, "measurements.raw.v1", value)
    assert await consume_one(kafka.bootstrap_servers, "measurements.raw.v1") == value


async def test_a_killed_kafka_keeps_what_it_acknowledged(own_kafka: KafkaServer) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await client.start()
    await client.create_topics([NewTopic("t", 1, 1)])
    await client.close()
    await produce(own_kafka.bootstrap, "t", b"kept")
    own_kafka.kill()
    assert not process.is_listening(int(own_kafka.bootstrap.rsplit(":")[-1]))
    own_kafka.restart()
    assert await consume_one(own_kafka.bootstrap, "t") == b"kept"


def test_a_broker_starts_from_the_classes_that_the_first_format_left(own_kafka: KafkaServer) -> None:
    mapped = Path(f"/proc/{own_kafka.pid}/maps").read_text().split()
    assert {Path(part).suffix for part in mapped if "kafka-" in part} >= {".aot"}


async def test_the_databases_of_two_tests_are_apart(postgres_server: PostgresServer, database: FreshDatabase) -> None:
    other = make_database(postgres_server)
    owner = await asyncpg.connect(database.owner_dsn.get_secret_value())
    try:
        await owner.execute("CREATE TABLE kept (one int); GRANT SELECT ON kept TO storage_reader")
    finally:
        await owner.close()
    reader = await asyncpg.connect(database.dsn_for("storage_reader").get_secret_value())
    try:
        assert await reader.fetch("SELECT * FROM kept") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute("INSERT INTO kept VALUES (1)")
    finally:
        await reader.close()
    assert other.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"


async def test_a_role_needs_its_password(database: FreshDatabase) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(database.dsn_for("auth_service").get_secret_value(), password="guessed")


def test_a_killed_postgres_comes_back_with_its_rows(own_postgres: PostgresServer) -> None:
    own_postgres.sql("CREATE TABLE kept (one int); INSERT INTO kept VALUES (7);")
    own_postgres.kill()
    own_postgres.restart()
    assert own_postgres.sql("SELECT one FROM kept") == "7"
