"""The service as a whole: from metering-admin's rows to a gateway that refreshes and a registry that is published."""

import asyncio
import json
from pathlib import Path

import aiohttp
from metering_common.clock import SystemClock
from metering_common.postgres import TimedPool
from metering_common.registry import RegistryReplica
from metering_common.settings import KafkaSettings

from metering_auth.audit import Actor
from metering_auth.registry import devices, owners, sensors
from metering_auth.registry.devices import DeviceEntry

OPERATOR = Actor("test", "localhost")
DICTIONARY = Path(__file__).parents[4] / "data" / "sensor_dictionary.json"


async def test_a_registered_gateway_refreshes_and_the_registry_is_published(start_auth, pool: TimedPool, kafka: KafkaSettings, admin) -> None:
    async with start_auth() as service, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(service.run())
        assert admin("sensor", "import", str(DICTIONARY))["added"] == 30
        assert admin("sensor", "import", str(DICTIONARY)) == {"added": 0, "changed": 0, "unchanged": 30}
        provider = admin("provider", "add", "Uno")["id"]
        gateway = admin("gateway", "add", "--provider", str(provider), "Edificio")["id"]
        device = admin("device", "add", "--provider", str(provider), "--number", "29")
        token = admin("gateway", "issue-token", str(gateway))["refreshToken"]
        url = f"http://127.0.0.1:{service.http_port}/api/v1/auth/token/refresh"
        async with aiohttp.ClientSession() as session, session.post(url, json={"refreshToken": token}) as answer:
            assert answer.status == 200, await answer.text()
            assert set(await answer.json()) == {"accessToken", "refreshToken"}
        async with RegistryReplica.open(kafka, SystemClock()) as replica:
            async with asyncio.timeout(20):
                await replica.wait_ready()
                while device["id"] not in replica.registry.devices:
                    await asyncio.sleep(0.05)
            assert len(replica.registry.sensors) == 30
            assert len(replica.registry.keys) == 1
            assert replica.registry.epoch is not None
            assert replica.registry.gateways[gateway].provider == provider
        running.cancel()
