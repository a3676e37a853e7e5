"""For tests and benchmarks: an ingest-api before a real Kafka, a registry of senders, tokens signed like auth's."""

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import aiohttp
import jwt
import psutil
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from multidict import CIMultiDict
from prometheus_client.parser import text_string_to_metric_families

from metering_common.contract import topics
from metering_common.kafka import clients as kafka_clients
from metering_common.registry.documents import (
    Device,
    Gateway,
    KeyState,
    Meta,
    Provider,
    RegistryDocument,
    Sensor,
    SensorKind,
    SigningKey,
    document_key,
    encode_document,
)
from metering_common.registry.memory import Registry
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_ingest_api.bootstrap import build
from metering_ingest_api.settings import IngestSettings

KID = "k1"
START_SECONDS = 120  # ready as soon as it is; this bounds a machine under load
STOP_SECONDS = 30
DICTIONARY = Path(__file__).parents[4] / "data" / "sensor_dictionary.json"


@cache
def private_key(kid: str) -> rsa.RSAPrivateKey:
    """One per key id and session: making one takes a while."""
    assert kid
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def public_pem(kid: str) -> str:
    public = private_key(kid).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def signing_key(kid: str = KID, state: KeyState = KeyState.ACTIVE, accept_until: int | None = None) -> SigningKey:
    return SigningKey(kid=kid, public_key=public_pem(kid), state=state, accept_until=accept_until)


def make_token(*, gateway: int = 2, provider: int = 1, kid: str = KID, now: float | None = None, **changes: Any) -> str:
    """An access token as auth signs it; `changes` replace claims, None takes one away."""
    issued_at = int(SystemClock().now_ms() / 1_000 if now is None else now)
    claims = {
        "jti": "0b5f4b0e-5b1e-4f4e-9a53-0d5f1f3a9b11",
        "iat": issued_at,
        "exp": issued_at + 10_800,
        "aud": str(provider),
        "iss": "Provider Auth Server",
        "sub": str(gateway),
        "token_use": "access",
    } | changes
    present = {name: value for name, value in claims.items() if value is not None}
    # PyJWT refuses to encode some of what a forger may send: those tests encode for themselves
    return jwt.encode(present, private_key(kid), algorithm="RS256", headers={"kid": kid})


def dictionary() -> list[Sensor]:
    return [
        Sensor(
            id=number,
            position=number,
            name=entry["name"],
            unit=entry["unit"],
            alias=entry.get("alias"),
            kind=SensorKind.ACCUMULATING if "acumulada" in entry["name"] else SensorKind.INSTANTANEOUS,
        )
        for number, entry in enumerate(json.loads(DICTIONARY.read_text("utf-8")), start=1)
    ]


def known_world() -> list[RegistryDocument]:
    """Provider 1 with gateways 2 and 3 and devices 29, 30 and 31; provider 4 with gateway 5 and device 40."""
    sensors = tuple(range(1, 31))
    return [
        Meta(epoch="6f1c2c7e-6a0f-4b7e-9a52-0d5f1f3a9b11", created_at=1_700_000_000),
        signing_key(),
        Provider(id=1, name="Kuantum"),
        Provider(id=4, name="Otro"),
        Gateway(id=2, provider=1, name="Edificio central"),
        Gateway(id=3, provider=1, name="Anexo"),
        Gateway(id=5, provider=4, name="Otro"),
        *dictionary(),
        Device(id=29, provider=1, number="29", sensors=sensors),
        Device(id=30, provider=1, number="planta 2/ñ 50%", sensors=(3, 1)),
        Device(id=31, provider=1, number="31", sensors=(6,), active=False),
        Device(id=40, provider=4, number="40", sensors=(1,)),
    ]


def put(registry: Registry, *documents: RegistryDocument) -> None:
    for document in documents:
        registry.apply(document_key(document), encode_document(document))


async def publish(kafka: KafkaSettings, *documents: RegistryDocument, gone: tuple[str, ...] = ()) -> None:
    """Put documents, and tombstones for the keys `gone`, on the registry topic."""
    producer = kafka_clients.producer(kafka)
    await producer.start()
    try:
        for document in documents:
            await producer.send_and_wait(topics.REGISTRY, encode_document(document), document_key(document).encode())
        for key in gone:
            await producer.send_and_wait(topics.REGISTRY, None, key.encode())
    finally:
        await producer.stop()


@dataclass
class IngestApiUnderTest:
    """A running ingest-api and a gateway's session with it."""

    port: int
    admin_port: int
    session: aiohttp.ClientSession
    kafka: KafkaSettings
    token: str = field(default_factory=make_token)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def ask(self, method: str, path: str, *, token: str | None = None, **options: Any) -> "Answer":
        """`path` below /api/v1; with the usual headers unless told otherwise."""
        headers = {"Authorization": f"Bearer {token or self.token}"} | options.pop("headers", {})
        present = {name: value for name, value in headers.items() if value is not None}
        async with self.session.request(method, f"{self.url}/api/v1{path}", headers=present, **options) as response:
            return Answer(response.status, CIMultiDict(response.headers), await response.read())

    async def post(self, body: Any, **options: Any) -> "Answer":
        data = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"} | options.pop("headers", {})
        return await self.ask("POST", "/measurements", data=BytesIO(data), headers=headers, **options)

    async def metric(self, name: str, **labels: str) -> float:
        async with self.session.get(f"http://127.0.0.1:{self.admin_port}/metrics") as response:
            families = text_string_to_metric_families(await response.text())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: CIMultiDict[str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.headers["Content-Type"].startswith("application/problem+json")
        return str(self.json()["code"])


def ingest_api_settings(kafka: KafkaSettings, **changes: Any) -> IngestSettings:
    defaults: dict[str, Any] = {"http_host": "127.0.0.1", "http_port": 0, "admin_host": "127.0.0.1", "admin_port": 0}
    return IngestSettings(**defaults | {"kafka": kafka, "unready_seconds": 0, "drain_seconds": 5} | changes)


@asynccontextmanager
async def running_ingest_api(kafka: KafkaSettings, **changes: Any) -> AsyncIterator[IngestApiUnderTest]:
    async with (
        build(ingest_api_settings(kafka, **changes)) as api,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        under_test = IngestApiUnderTest(api.port, api.admin_port, session, kafka)
        await until_ready(under_test)
        yield under_test


async def until_ready(ingest_api: IngestApiUnderTest) -> None:
    while True:
        async with ingest_api.session.get(f"http://127.0.0.1:{ingest_api.admin_port}/readyz") as response:
            if response.ok:
                return


@dataclass(frozen=True)
class Address:
    """Where an ingest-api listens."""

    host: str
    port: int
    admin_port: int


@dataclass(frozen=True)
class IngestApiProcess:
    """A ingest-api as production runs it, in a process of its own."""

    address: Address
    child: "subprocess.Popen[bytes]"
    bootstrap: str
    log: Path

    @property
    def port(self) -> int:
        return self.address.port

    @property
    def admin_port(self) -> int:
        return self.address.admin_port

    @property
    def resident_bytes(self) -> int:
        return int(psutil.Process(self.child.pid).memory_info().rss)

    def is_ready(self) -> bool:
        try:
            with urlopen(f"http://{self.address.host}:{self.admin_port}/readyz", timeout=2) as response:
                return bool(response.status == HTTPStatus.OK)
        except OSError:
            return False

    def stop(self) -> int:
        """As a pod is stopped; its exit status."""
        self.child.terminate()
        return self.child.wait(STOP_SECONDS)


@contextmanager
def ingest_process(bootstrap: str, folder: Path, at: Address, **environment: str) -> Iterator[IngestApiProcess]:
    """Started, ready, and at the end stopped as a pod is; its log is in `folder`."""
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "KAFKA_ENVIRONMENT": "laptop",
        "INGEST_HTTP_HOST": at.host,
        "INGEST_HTTP_PORT": str(at.port),
        "INGEST_ADMIN_HOST": at.host,
        "INGEST_ADMIN_PORT": str(at.admin_port),
        "INGEST_UNREADY_SECONDS": "0",
    }
    log = folder / f"ingest_api-{at.host}-{at.port}.log"
    command = [sys.executable, "-m", "metering_ingest_api"]
    with log.open("ab") as output:
        child = subprocess.Popen(command, env=os.environ | settings | environment, stdout=output, stderr=output)
    ingest_api = IngestApiProcess(at, child, bootstrap, log)
    try:
        _wait_until_ready(ingest_api)
        yield ingest_api
    finally:
        if child.poll() is None:
            ingest_api.stop()


def _wait_until_ready(ingest_api: IngestApiProcess) -> None:
    give_up_at = time.monotonic() + START_SECONDS
    while not ingest_api.is_ready():
        if ingest_api.child.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeError(f"ingest-api did not get ready: {ingest_api.log.read_text()[-2_000:]}")
        time.sleep(0.05)
