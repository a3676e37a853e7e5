"""A ingest-api in front of a real Kafka and the registry that it knows its senders by."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from ingest_api_support import (
    Address,
    IngestApiProcess,
    IngestApiUnderTest,
    dictionary,
    ingest_process,
    known_world,
    publish,
    put,
)

from metering_common.contract import topics
from metering_common.registry.memory import Registry
from metering_common.service.settings import KafkaSettings
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
async def ingest_api(process: IngestApiProcess, kafka_server: KafkaServer) -> AsyncIterator[IngestApiUnderTest]:
    """A gateway's session with the module's ingest-api: what a test leaves behind in Kafka, the next one finds."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield IngestApiUnderTest(process.port, process.admin_port, session, kafka_settings(kafka_server))


@pytest.fixture
def example_body() -> list[dict[str, Any]]:
    """The published document's example: one measure of all 30 sensors."""
    values = [{"sensorName": sensor.name, "sensorValue": 1} for sensor in dictionary()]
    return [{"deviceNumber": "29", "measures": [{"timestamp": 1566226133, "sensorValues": values}]}]


@pytest.fixture(scope="module")
def process(kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[IngestApiProcess]:
    """One ingest-api for a module, as production runs it, with short deadlines."""
    settings = kafka_settings(kafka_server)
    asyncio.run(prepare_topics(settings))
    deadlines = {"INGEST_HEADER_SECONDS": "1", "INGEST_BODY_SECONDS": "2", "INGEST_KEEPALIVE_SECONDS": "3"}
    with ingest_process(
        kafka_server.bootstrap, tmp_path_factory.mktemp("ingest_api"), free_address(), **deadlines
    ) as running:
        yield running


@pytest.fixture
def address() -> Address:
    """Where an ingest-api of a test's own may listen."""
    return free_address()


def free_address() -> Address:
    return Address(HOST, free_port(), free_port())


async def prepare_topics(settings: KafkaSettings) -> None:
    await delete_topics(settings)
    await topics.apply(settings)
    await publish(settings, *known_world())
