"""`make compose-up BROKERS=3`: the contracts of production, and a broker killed while measures come in."""

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from metering_common.contract.topics import load_contracts
from tests.images.client import faults_of_the_demo
from tests.images.platform import Containers

pytestmark = pytest.mark.docker
KILLED = "kafka-2"
SENDING_SECONDS = 120
ENOUGH_VALUES = 100


async def test_three_brokers_hold_the_contracts_of_production_and_lose_nothing_with_one(
    three_brokers: Containers, tmp_path: Path
) -> None:
    told = three_brokers.compose("run", "--rm", "--entrypoint", "metering-topics", "topics", "check", "--json")
    faults_of = {row["topic"]: row["faults"] for row in json.loads(told[told.index("[") :])}
    assert faults_of == {name: [] for name in load_contracts()}
    client = asyncio.create_task(faults_of_the_demo(tmp_path, three_brokers.tools()))
    await _until_measures_come_in(three_brokers)
    await asyncio.to_thread(three_brokers.engine.docker, "kill", three_brokers.id(KILLED))
    assert not client.done()
    assert await client == []
    assert three_brokers.inspect(KILLED)["State"]["ExitCode"] == 137


async def _until_measures_come_in(platform: Containers) -> None:
    """More values are stored than the prober's few: the client is at it."""
    connection = await asyncpg.connect(platform.tools()["METERING_DATABASE_URL"])
    try:
        for _ in range(SENDING_SECONDS * 10):
            if await connection.fetchval("SELECT count(*) FROM measurement") > ENOUGH_VALUES:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("nothing came in")
    finally:
        await connection.close()
