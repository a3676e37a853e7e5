"""Refreshes per second of one auth process, as a ratio to bare RS256 signing measured in the same run.

A refresh signs twice (access and refresh), so bare signing allows half its rate. The process's CPU time is taken from
/proc: what PostgreSQL, Kafka and this load generator use beside it does not count, since they are not auth.

    python -m bench.bench_auth_refresh --seconds 10        (or: make bench)
"""

import argparse
import asyncio
import base64
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
from auth_support import AuthClient
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from metering_auth.adapters.postgres import owners
from metering_auth.adapters.postgres.issue import TokenIssuer
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.domain.actor import Actor
from metering_auth.domain.tokens import Claims, SigningMaterial, TokenUse, sign
from metering_auth.settings import StoreSettings
from metering_common.contract import topics
from metering_common.postgres import pool as postgres
from metering_common.service.settings import KafkaSettings
from metering_local import kafka as local_kafka
from metering_local import postgres as local_postgres
from metering_local.free_ports import free_port
from metering_local.testing import FreshDatabase, make_database, make_test_owner

ROOT = Path(__file__).parents[1]
MIGRATIONS = ROOT / "services" / "auth" / "migrations"
MASTER_KEY = base64.urlsafe_b64encode(os.urandom(32)).decode()
SIGNINGS_PER_REFRESH = 2
GATEWAYS = 100_000  # each refreshing every hour and a half
HALF_LIFE_SECONDS = 5_400
REFRESH_LIFETIME_SECONDS = 60 * 86_400


@dataclass(frozen=True)
class Measured:
    """One run: what was done, in which time, for how much CPU of the auth process."""

    refreshes: int
    seconds: float
    cpu_seconds: float


def signings_per_second(seconds: float) -> float:
    """One core, tokens of ours, nothing else."""
    material = SigningMaterial("0" * 16, rsa.generate_private_key(public_exponent=65_537, key_size=2048))
    count, since = 0, time.process_time()
    while time.process_time() - since < seconds:
        now = int(time.time())
        sign(Claims(uuid4(), now, now + 10_800, 1, 2, TokenUse.ACCESS), material)
        count += 1
    return count / (time.process_time() - since)


async def refresh_all_the_time(client: AuthClient, tokens: list[str], seconds: float, process: int) -> Measured:
    """Each gateway refreshes as fast as it is answered."""
    count, since, cpu_since = 0, time.monotonic(), cpu_seconds(process)

    async def gateway(token: str) -> None:
        nonlocal count
        while time.monotonic() - since < seconds:
            token = await client.rotated(token)
            count += 1

    async with asyncio.TaskGroup() as gateways:
        for token in tokens:
            gateways.create_task(gateway(token))
    return Measured(count, time.monotonic() - since, cpu_seconds(process) - cpu_since)


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def first_tokens(dsn: SecretStr, count: int) -> list[str]:
    settings = StoreSettings(database_url=dsn, key_encryption_key=SecretStr(MASTER_KEY))
    keys, actor = SigningKeys(settings.keyring()), Actor("bench", "bench")
    async with postgres.pool(dsn, application_name="bench") as pool, pool.acquire() as connection:
        await keys.load(connection)
        issuer = TokenIssuer(keys, settings.lifetimes())
        provider = await owners.add_provider(connection, actor, "bench")
        gateways = [await owners.add_gateway(connection, actor, provider.id, f"{n}") for n in range(count)]
        return [(await issuer.issue(connection, actor, gateway.id)).refresh for gateway in gateways]


@asynccontextmanager
async def auth_process(database: FreshDatabase, kafka: KafkaSettings) -> AsyncIterator[tuple[int, str]]:
    """Process id and base URL of one `python -m metering_auth`."""
    http_port, admin_port = free_port(), free_port()
    environment = os.environ | {
        "AUTH_DATABASE_URL": database.dsn_for("auth_service").get_secret_value(),
        "AUTH_KEY_ENCRYPTION_KEY": MASTER_KEY,
        "AUTH_HTTP_HOST": "127.0.0.1",
        "AUTH_HTTP_PORT": str(http_port),
        "AUTH_ADMIN_HOST": "127.0.0.1",
        "AUTH_ADMIN_PORT": str(admin_port),
        "AUTH_PUBLIC_URL": f"http://127.0.0.1:{http_port}",
        "AUTH_FAILURES_PER_ADDRESS_PER_MINUTE": "100000000",
        "AUTH_ATTEMPTS_PER_GATEWAY_PER_MINUTE": "100000000",
        "AUTH_LOG_LEVEL": "warning",
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENVIRONMENT": "laptop",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "metering_auth", env=environment)
    try:
        await until_ready(f"http://127.0.0.1:{admin_port}/readyz")
        yield process.pid, f"http://127.0.0.1:{http_port}"
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def until_ready(url: str) -> None:
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.2)


def migrate(dsn: SecretStr) -> None:
    dbmate = str(Path(sys.executable).with_name("dbmate"))
    url = f"{dsn.get_secret_value()}?sslmode=disable"
    arguments = ["--url", url, "--migrations-dir", str(MIGRATIONS), "--no-dump-schema", "up"]
    subprocess.run([dbmate, *arguments], check=True, capture_output=True)


async def measure(seconds: float, at_once: int) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        local_kafka.start(Path(folder) / "kafka") as broker,
        local_postgres.start(Path(folder) / "postgres") as server,
    ):
        make_test_owner(server)
        database = make_database(server)
        migrate(database.owner_dsn)
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, environment="laptop")
        await topics.apply(kafka)
        async with auth_process(database, kafka) as (process, url), aiohttp.ClientSession() as session:
            tokens = await first_tokens(database.dsn_for("auth_service"), at_once)
            signing = signings_per_second(2)
            measured = await refresh_all_the_time(AuthClient(session, url), tokens, seconds, process)
            report(measured, (signing + signings_per_second(2)) / 2, at_once)
            row_bytes = int(
                database.sql("SELECT pg_total_relation_size('refresh_token') / count(*) FROM refresh_token")
            )
            rows = GATEWAYS * REFRESH_LIFETIME_SECONDS / HALF_LIFE_SECONDS
            print(f"kept until they expire:           {rows / 1e6:8.0f} M hashes, {rows * row_bytes / 1e9:.0f} GB")


def report(measured: Measured, signing: float, at_once: int) -> None:
    per_second = measured.refreshes / measured.seconds
    per_core = measured.refreshes / measured.cpu_seconds
    allowed = signing / SIGNINGS_PER_REFRESH
    demand = GATEWAYS / HALF_LIFE_SECONDS
    print(f"bare RS256 signing, 2048 bits:    {signing:8.0f} tokens/s per core, so {allowed:.0f} refreshes/s at most")
    print(f"refreshes, {at_once} gateways at once:  {per_second:8.0f} /s on this machine, all else beside it")
    print(f"refreshes per core of auth:       {per_core:8.0f} /s, {per_core / allowed:.0%} of what signing allows")
    print(
        f"{GATEWAYS} gateways each {HALF_LIFE_SECONDS} s: {demand:8.1f} /s, {demand / per_core:.1%} of one core of auth"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--at-once", type=int, default=16)
    given = parser.parse_args()
    asyncio.run(measure(given.seconds, given.at_once))
