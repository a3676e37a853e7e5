"""A door in front of a real Kafka and the registry that it knows its senders by."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from metering_common.registry_memory import Registry
from metering_common.settings import KafkaSettings
from metering_ingest_api.testing import DoorUnderTest, dictionary, known_world, publish, put, running_door


@pytest.fixture
def registry() -> Registry:
    """The known world in memory."""
    registry = Registry()
    put(registry, *known_world())
    return registry


@pytest.fixture
async def door(kafka: KafkaSettings) -> AsyncIterator[DoorUnderTest]:
    """The known world's door, in this process, before a Kafka with fresh topics."""
    await publish(kafka, *known_world())
    async with running_door(kafka) as under_test:
        yield under_test


@pytest.fixture
def example_body() -> list[dict[str, Any]]:
    """The published document's example: one measure of all 30 sensors."""
    values = [{"sensorName": sensor.name, "sensorValue": 1} for sensor in dictionary()]
    return [{"deviceNumber": "29", "measures": [{"timestamp": 1566226133, "sensorValues": values}]}]
