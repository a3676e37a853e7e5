"""From 201 to queryable, through everything: gateway's request, ingest-api, validator, writer, SQL; at half load.

    python bench/bench_queryable.py [--measures 100] [--seconds S]

Brings up a platform of its own as `make up` does, with this build's defaults. First it sends as fast as answers come
and counts until the last row can be selected: that is full load, with everything on this machine, the sender included.
Then it sends at half of that rate, evenly and as long, since checkpoints and vacuum come about once a minute, and asks
for each request's first row from its 201 on. Between the two lies a pause in which the kernel writes what full load has
left in its cache (data of half a minute ago goes to the disk at once, and each commit waits behind it).
"""

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import uvloop

from metering_local.checkout import DICTIONARY
from metering_local.testing_stack import LocalStack, local_stack

GATEWAYS = 8
CONNECTIONS = 16
DAY = 86_400
LATENCY_BOUND_SECONDS = 1.0
WAIT_SECONDS = 60
SETTLE_SECONDS = 40  # Linux writes what is 30 s old, and looks every 5 s (vm.dirty_expire_centisecs, _writeback_)
SENSORS = [sensor["name"] for sensor in json.loads(DICTIONARY.read_text("utf-8"))]
LOOK_EVERY_SECONDS = 0.01
STORED = """
    SELECT asked.device_id, asked.ts
    FROM unnest($1::integer[], $2::bigint[]) AS asked (device_id, ts),
        LATERAL (
            SELECT FROM measurement AS m
            WHERE m.device_id = asked.device_id AND m.ts = to_timestamp(asked.ts)
            LIMIT 1
        ) AS there
"""


class Gateway:
    """One device behind one token; each body brings measures a minute apart that no body brought before."""

    def __init__(self, device: int, number: str, token: str) -> None:
        self.device = device
        self._number = number
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._minutes = itertools.count(int(time.time()) // 60 - 390 * DAY // 60)

    def body(self, measures: int) -> tuple[bytes, int]:
        """And the time of its first measure."""
        times = [60 * next(self._minutes) for _ in range(measures)]
        values = [{"sensorName": name, "sensorValue": 230.25} for name in SENSORS]
        element = {
            "deviceNumber": self._number,
            "measures": [{"timestamp": at, "sensorValues": values} for at in times],
        }
        return json.dumps([element]).encode(), times[0]


class Table:
    """The table at the end. One query asks for all rows that are waited for: one each would be a load of their own,
    the heavier the longer they take.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._awaited: dict[tuple[int, int], asyncio.Future[None]] = {}

    async def holds(self, device: int, at: int) -> None:
        """Returns when the row can be selected."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._awaited.setdefault((device, at), asyncio.get_running_loop().create_future())

    async def look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            keys = list(self._awaited)
            if keys:
                for found in await self._connection.fetch(STORED, *map(list, zip(*keys, strict=True))):
                    self._awaited.pop(tuple(found)).set_result(None)


class Way:
    """The public API and the table at the end."""

    def __init__(self, url: str, client: aiohttp.ClientSession, table: Table, measures: int) -> None:
        self.table = table
        self._url, self._client, self._measures = url, client, measures
        self.values_per_body = measures * len(SENSORS)

    async def send(self, gateway: Gateway) -> tuple[int, int]:
        """Device and time by which to ask for it."""
        body, at = gateway.body(self._measures)
        async with self._client.post(f"{self._url}/api/v1/measurements", data=body, headers=gateway.headers) as answer:
            assert answer.status == 201, await answer.text()
        return gateway.device, at

    async def full_load(self, gateways: list[Gateway], seconds: float) -> float:
        """Values per second from the first request to the last row."""
        started = time.perf_counter()

        async def sender(gateway: Gateway) -> tuple[int, tuple[int, int]]:
            sent = 0
            while time.perf_counter() < started + seconds:
                last = await self.send(gateway)
                sent += 1
            return sent, last

        done = await asyncio.gather(*(sender(gateways[number % GATEWAYS]) for number in range(CONNECTIONS)))
        for _, last in done:
            await self.table.holds(*last)
        return sum(sent for sent, _ in done) * self.values_per_body / (time.perf_counter() - started)

    async def evenly(self, gateways: list[Gateway], values_per_second: float, seconds: float) -> list[float]:
        """How long after each 201 its row could be selected."""
        every = self.values_per_body / values_per_second
        asked: list[asyncio.Task[float]] = []
        begun = time.perf_counter()
        for number in range(int(seconds / every)):
            await asyncio.sleep(max(0.0, begun + number * every - time.perf_counter()))
            asked.append(asyncio.create_task(self._one(gateways[number % GATEWAYS])))
        return list(await asyncio.gather(*asked))

    async def _one(self, gateway: Gateway) -> float:
        device, at = await self.send(gateway)
        answered = time.perf_counter()
        await self.table.holds(device, at)
        return time.perf_counter() - answered


@contextmanager
def platform() -> Iterator[LocalStack]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        local = local_stack(Path(folder))
        try:
            local.up()
            yield local
        finally:
            local.run("down")


def exported(local: LocalStack) -> dict[str, str]:
    """What a shell would have after sourcing `local.env`."""
    script = f'set -a; . "{local.stack.state / "local.env"}"; env -0'
    printed = subprocess.run(["/bin/sh", "-c", script], env={}, capture_output=True, check=True).stdout.decode()
    return dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)


def admin(local: LocalStack, *arguments: str) -> Any:
    done = LocalStack(local.stack, os.environ | exported(local)).run(*arguments, "--json", program="metering-admin")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def registered(local: LocalStack, client: aiohttp.ClientSession) -> list[Gateway]:
    provider = str(admin(local, "provider", "add", "Bench")["id"])
    gateways = []
    for number in range(GATEWAYS):
        gateway = str(admin(local, "gateway", "add", "--provider", provider, f"gateway {number}")["id"])
        device = admin(local, "device", "add", "--provider", provider, "--number", str(number))["id"]
        refresh = admin(local, "gateway", "issue-token", gateway)["refreshToken"]
        url = f"{local.stack.api_url}/api/v1/auth/token/refresh"
        async with client.post(url, json={"refreshToken": refresh}) as answer:
            gateways.append(Gateway(int(device), str(number), (await answer.json())["accessToken"]))
    return gateways


@asynccontextmanager
async def way(local: LocalStack, client: aiohttp.ClientSession, measures: int) -> AsyncIterator[Way]:
    connection = await asyncpg.connect(local.stack.dsn("storage_reader", "storage"))
    table = Table(connection)
    looking = asyncio.create_task(table.look())
    try:
        yield Way(local.stack.api_url, client, table, measures)
    finally:
        looking.cancel()
        await asyncio.wait({looking})
        await connection.close()


async def run(local: LocalStack, measures: int, seconds: float) -> int:
    headers = {"accept": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as client:
        gateways = await registered(local, client)
        async with way(local, client, measures) as whole:
            await whole.full_load(gateways, 2)  # connections, caches and prepared statements
            rate = await whole.full_load(gateways, seconds)
            await asyncio.sleep(SETTLE_SECONDS)
            waited = await whole.evenly(gateways, rate / 2, seconds)
    quantiles = statistics.quantiles(waited, n=100)
    figures = {
        "measures_per_body": measures,
        "values_per_second_at_full_load": round(rate),
        "requests_at_half_load": len(waited),
        "seconds_from_201_to_queryable": {"p50": round(quantiles[49], 3), "p99": round(quantiles[98], 3)},
        "bound_p99": LATENCY_BOUND_SECONDS,
    }
    print(json.dumps(figures, indent=2))
    return int(quantiles[98] > LATENCY_BOUND_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measures", type=int, default=100, help="per body, 30 values each")
    parser.add_argument("--seconds", type=float, default=60, help="of full load, and of half")
    asked = parser.parse_args()
    with platform() as local:
        return uvloop.run(run(local, asked.measures, asked.seconds))


if __name__ == "__main__":
    raise SystemExit(main())
