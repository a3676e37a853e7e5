"""The service as a whole: from metering-admin's rows to a gateway that refreshes and a registry that is published."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auth_support import AuthClient

from metering_common.registry.documents import KeyState, SensorKind
from metering_common.registry.replica import RegistryReplica
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings

DICTIONARY = Path(__file__).parents[4] / "data" / "sensor_dictionary.json"


async def test_a_registered_gateway_refreshes_and_the_registry_is_published(
    auth: AuthClient, kafka: KafkaSettings, admin: Callable[..., Any]
) -> None:
    assert admin("sensor", "import", DICTIONARY)["added"] == 30
    assert admin("sensor", "import", DICTIONARY) == {"added": 0, "changed": 0, "unchanged": 30}
    provider = admin("provider", "add", "Uno")["id"]
    gateway = admin("gateway", "add", "--provider", provider, "Edificio")["id"]
    device = admin("device", "add", "--provider", provider, "--number", "29")
    token = admin("gateway", "issue-token", gateway)["refreshToken"]
    status, body = await auth.refresh(token)
    assert (status, set(body)) == (200, {"accessToken", "refreshToken"})
    async with RegistryReplica.open(kafka, SystemClock()) as replica, asyncio.timeout(20):
        await replica.wait_ready()
        while device["id"] not in replica.registry.devices:  # noqa: ASYNC110  Kafka has no event for it
            await asyncio.sleep(0.05)
        registry = replica.registry
        assert registry.epoch is not None
        assert registry.gateways[gateway].provider == provider
        assert [key.state for key in registry.keys.values()] == [KeyState.ACTIVE]
        accumulating = [sensor for sensor in registry.sensors.values() if sensor.kind is SensorKind.ACCUMULATING]
        assert len(registry.sensors) == 30
        assert all("acumulada" in sensor.name for sensor in accumulating)
        assert len(registry.devices[device["id"]].sensors) == 30
