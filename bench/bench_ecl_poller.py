"""One poller process and 10,000 controllers on a portal that answers in 100 ms, beside the emulator's bare capacity.

Every controller is due at once, as after an outage of ours; the poller works for a while, and from its rate follows
how long all of them take. The bare capacity is what a client without any work of its own gets from the same emulator
with the same number of requests at once, in the same run.

    python -m bench.bench_ecl_poller --seconds 30        (or: make bench NAME=ecl_poller)
"""

import argparse
import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import SecretStr

from metering_common.contract import topics
from metering_common.kafka import clients as kafka_clients
from metering_common.postgres import pool as postgres
from metering_common.registry.documents import (
    Device,
    Meta,
    Provider,
    RegistryDocument,
    Sensor,
    document_key,
    encode_document,
)
from metering_common.service.settings import KafkaSettings
from metering_ecl_poller.adapters.portal.address import build_url
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.adapters.postgres.controller_store import ControllerStore
from metering_ecl_poller.bootstrap import keyring
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.settings import ConnectorSettings
from metering_local import kafka as local_kafka
from metering_local import postgres as local_postgres
from metering_local.testing import FreshDatabase, make_database, make_test_owner
from tests.emulators.ecl_portal import fleet
from tests.emulators.ecl_portal.station import PROVIDER, SENSORS, mapping_of, number_of

ROOT = Path(__file__).parents[1]
MIGRATIONS = ROOT / "services" / "ecl-poller" / "migrations"
MASTER_KEY = base64.urlsafe_b64encode(os.urandom(32)).decode()
AT_ONCE = 64
TOGETHER = 50  # controllers added at once
LATENCY_MS = 100
HISTORY_HOURS = 3
HOUR_SECONDS = 3_600


@contextmanager
def emulator(count: int) -> Iterator[dict[str, Any]]:
    """A process of its own, with controllers that have the last hours' samples."""
    command = [sys.executable, "-m", "tests.emulators.ecl_portal", "--dk-count", str(count), "--com-count", "0"]
    command += ["--latency-ms", str(LATENCY_MS), "--history-hours", str(HISTORY_HOURS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


async def bare_capacity(url: str, count: int, seconds: float) -> float:
    """Requests per second of a client that throws the answers away."""
    dialect, done, end = load_dialect(), 0, time.monotonic() + seconds
    accounts = [account(url, str(fleet.FIRST_SERIAL + number)) for number in range(count)]
    urls = [build_url(dialect.paths.master_data, one, (), dialect) for one in accounts]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(place: int) -> None:
            nonlocal done
            while time.monotonic() < end:
                place = (place + AT_ONCE) % count
                async with session.get(urls[place]) as answer:
                    await answer.read()
                done += 1

        await asyncio.gather(*(ask(place) for place in range(AT_ONCE)))
    return done / seconds


def account(url: str, serial: str) -> PortalAccount:
    return PortalAccount(url, serial, fleet.SERVER_CODE, fleet.ACCESS_CODE)


async def fill(settings: KafkaSettings, database: FreshDatabase, url: str, count: int) -> None:
    """The registry with four devices per controller, and the poller's book with every controller due."""
    now_ms = time.time_ns() // 1_000_000
    controllers = fleet.controllers("dk", count, now_ms, history_ms=HISTORY_HOURS * HOUR_SECONDS * 1_000)
    numbers = [number_of(controller, device) for controller in controllers for device in controller.devices]
    await publish_registry(settings, numbers)
    store = ConnectorSettings(database_url=database.dsn_for("ecl_service"), key_encryption_key=SecretStr(MASTER_KEY))
    async with postgres.pool(store.database_url, application_name="bench") as pool:
        register = ControllerStore(pool, keyring(store))
        for start in range(0, count, TOGETHER):
            some = controllers[start : start + TOGETHER]
            await asyncio.gather(*(register.add(account(url, one.serial), now_ms) for one in some))
        await register.apply_mapping([mapping_of(controller, now_ms) for controller in controllers], now_ms)
        await pool.execute("UPDATE controller SET next_due = clock_timestamp()")


async def publish_registry(settings: KafkaSettings, numbers: list[str]) -> None:
    entries = json.loads(SENSORS.read_text())
    sensors = [Sensor(id=number, position=number, **entry) for number, entry in enumerate(entries, start=1)]
    listed = tuple(sensor.id for sensor in sensors)
    documents: list[RegistryDocument] = [
        Meta(epoch="6f1c2c7e-6a0f-4b7e-9a52-0d5f1f3a9b11", created_at=1),
        Provider(id=PROVIDER, name="bench"),
        *sensors,
        *(Device(id=place, provider=PROVIDER, number=one, sensors=listed) for place, one in enumerate(numbers, 1)),
    ]
    producer = kafka_clients.producer(settings)
    await producer.start()
    for document in documents:
        await producer.send(topics.REGISTRY, encode_document(document), document_key(document).encode())
    await producer.stop()


@asynccontextmanager
async def poller(settings: KafkaSettings, database: FreshDatabase) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {
        "ECL_DATABASE_URL": database.dsn_for("ecl_service").get_secret_value(),
        "ECL_KEY_ENCRYPTION_KEY": MASTER_KEY,
        "ECL_ADMIN_HOST": "127.0.0.1",
        "ECL_ADMIN_PORT": "0",
        "ECL_MAX_REQUESTS": str(AT_ONCE),
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "KAFKA_ENVIRONMENT": "laptop",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "metering_ecl_poller", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def requests_seen(control_url: str) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{control_url}/requests") as answer:
        return sum((await answer.json())["dk"]["seen"].values())


async def measure(portal: dict[str, Any], settings: KafkaSettings, database: FreshDatabase, seconds: float) -> None:
    """From the first request on, once the registry is read."""
    capacity = await bare_capacity(portal["dkUrl"], 1_000, seconds / 3)
    async with poller(settings, database) as process:
        before = await requests_seen(portal["controlUrl"])
        while await requests_seen(portal["controlUrl"]) == before:  # noqa: ASYNC110  it happens in another process
            await asyncio.sleep(0.1)
        start, cpu = time.monotonic(), cpu_seconds(process.pid)
        first = await requests_seen(portal["controlUrl"])
        polled = polls(database)
        await asyncio.sleep(seconds)
        passed = time.monotonic() - start
        rate = (await requests_seen(portal["controlUrl"]) - first) / passed
        per_second = (polls(database) - polled) / passed
        report(capacity, rate, per_second, (cpu_seconds(process.pid) - cpu) / passed, resident_mb(process.pid))


def polls(database: FreshDatabase) -> int:
    return int(database.sql("SELECT count(*) FROM controller WHERE polled_at IS NOT NULL;"))


def report(capacity: float, rate: float, per_second: float, cores: float, megabytes: float) -> None:
    print(f"emulator alone, {AT_ONCE} requests at once, {LATENCY_MS} ms each: {capacity:.0f} requests/s")
    print(
        f"poller: {rate:.0f} requests/s, {per_second:.1f} controllers/s, {cores:.2f} cores, {megabytes:.0f} MB resident"
    )
    print(f"ratio to the emulator's bare capacity: {rate / capacity:.2f}")
    print(f"10,000 controllers: {10_000 / per_second / 60:.1f} minutes of the hour")


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1_024


def migrate(database: FreshDatabase) -> None:
    url = f"{database.owner_dsn.get_secret_value()}?sslmode=disable"
    dbmate = Path(sys.executable).parent / "dbmate"
    subprocess.run([dbmate, "--url", url, "-d", str(MIGRATIONS), "--no-dump-schema", "up"], check=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--controllers", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        local_kafka.start(Path(folder) / "kafka") as broker,
        local_postgres.start(Path(folder) / "postgres") as server,
        emulator(given.controllers) as portal,
    ):
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap, environment="laptop")
        await topics.apply(settings)
        make_test_owner(server)
        database = make_database(server)
        migrate(database)
        await fill(settings, database, portal["dkUrl"], given.controllers)
        await measure(portal, settings, database, given.seconds)


if __name__ == "__main__":
    asyncio.run(main())
