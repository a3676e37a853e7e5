"""A door in front of a real Kafka and the registry that it knows its senders by."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from metering_common import topics
from metering_common.registry_memory import Registry
from metering_common.settings import KafkaSettings
from metering_ingest_api.testing import (
    Address,
    DoorProcess,
    DoorUnderTest,
    dictionary,
    door_process,
    known_world,
    publish,
    put,
)
from metering_local.free_ports import free_port
from metering_local.kafka import KafkaServer
from metering_local.process import HOST
from metering_local.testing import delete_topics, kafka_settings


@pytest.fixture
def registry() -> Registry:
    """The known world in memory."""
    registry = Registry()
    put(registry, *known_world())
    return registry


@pytest.fixture
async def door(process: DoorProcess, kafka_server: KafkaServer) -> AsyncIterator[DoorUnderTest]:
    """A gateway's session with the module's door: what a test leaves behind in Kafka, the next one finds."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield DoorUnderTest(process.port, process.admin_port, session, kafka_settings(kafka_server))


@pytest.fixture
def example_body() -> list[dict[str, Any]]:
    """The published document's example: one measure of all 30 sensors."""
    values = [{"sensorName": sensor.name, "sensorValue": 1} for sensor in dictionary()]
    return [{"deviceNumber": "29", "measures": [{"timestamp": 1566226133, "sensorValues": values}]}]


@pytest.fixture(scope="module")
def process(kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorProcess]:
    """One door for a module, as production runs it, with short deadlines."""
    settings = kafka_settings(kafka_server)
    asyncio.run(prepare_topics(settings))
    deadlines = {"INGEST_HEADER_SECONDS": "1", "INGEST_BODY_SECONDS": "2", "INGEST_KEEPALIVE_SECONDS": "3"}
    with door_process(kafka_server.bootstrap, tmp_path_factory.mktemp("door"), free_address(), **deadlines) as running:
        yield running


@pytest.fixture
def address() -> Address:
    """Where a door of a test's own may listen."""
    return free_address()


def free_address() -> Address:
    return Address(HOST, free_port(), free_port())


async def prepare_topics(settings: KafkaSettings) -> None:
    await delete_topics(settings)
    await topics.apply(settings)
    await publish(settings, *known_world())
