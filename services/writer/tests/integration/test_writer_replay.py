"""What was refused or not taken appears once the registry is mended; what was corrected stays corrected.

The validator runs as a process of its own, as it does on the platform.
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from metering_common.contract.metadata import RegistryVersion, encode_headers
from metering_common.contract.topics import RAW, REGISTRY
from metering_common.kafka import clients as kafka_client
from metering_common.postgres.pool import TimedPool
from metering_common.registry.documents import (
    Device,
    Meta,
    Provider,
    RegistryDocument,
    Sensor,
    SensorKind,
    document_key,
    encode_document,
)
from metering_common.service.settings import KafkaSettings
from metering_writer import cli
from metering_writer.settings import ToolSettings, WriterSettings
from metering_writer.testing import Outside, headers, running

EPOCH = "6f1c2c7e-6a0f-4b7e-9a52-0d5f1f3a9b11"
RECEIVED_AT_MS = int(datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp() * 1_000)
MEASURED_AT = RECEIVED_AT_MS // 1_000 - 600
SENSORS = {1: "Corriente A", 2: "Voltaje A-N", 3: "Frecuencia"}


def sensor(number: int) -> Sensor:
    return Sensor(id=number, position=number, name=SENSORS[number], unit="x", kind=SensorKind.INSTANTANEOUS)


def device(*sensors: int) -> Device:
    return Device(id=29, provider=1, number="29", sensors=sensors, zone="UTC", interval_seconds=60)


class House:
    """The registry topic and ingest-api, as far as the validator sees them."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def registers(self, *documents: RegistryDocument) -> None:
        messages: list[Any] = [(document_key(one).encode(), encode_document(one), []) for one in documents]
        await self._send(REGISTRY, messages)

    async def receives(self, values: dict[str, Any], later_ms: int = 0) -> None:
        """One measure."""
        named = [{"sensorName": name, "sensorValue": value} for name, value in values.items()]
        element = {"deviceNumber": "29", "measures": [{"timestamp": MEASURED_AT, "sensorValues": named}]}
        about = replace(headers(received_at_ms=RECEIVED_AT_MS + later_ms), registry=RegistryVersion(EPOCH, 0))
        await self._send(RAW, [(b"29", json.dumps(element).encode(), encode_headers(about))])

    async def _send(self, topic: str, messages: list[Any]) -> None:
        producer = kafka_client.producer(self._kafka)
        await producer.start()
        try:
            for key, value, about in messages:
                await producer.send_and_wait(topic, value, key=key, headers=about)
        finally:
            await producer.stop()


@pytest.fixture
def house(kafka: KafkaSettings) -> House:
    return House(kafka)


@pytest.fixture
def validator(kafka: KafkaSettings, tmp_path: Path) -> Iterator[None]:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENVIRONMENT": kafka.environment,
        "VALIDATOR_ADMIN_HOST": "127.0.0.1",
        "VALIDATOR_ADMIN_PORT": "0",
        "VALIDATOR_SESSION_TIMEOUT_SECONDS": "6",
    }
    with (tmp_path / "validator.log").open("wb") as log:
        command = [sys.executable, "-m", "metering_validator"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        yield
        process.kill()
        process.wait(10)


async def command(settings: WriterSettings, *arguments: str) -> str:
    """What an operator's command prints."""
    asked = cli.parser().parse_args(arguments)
    out = io.StringIO()
    assert await asked.handle(ToolSettings(database_url=settings.database_url, kafka=settings.kafka), asked, out) == 0
    return out.getvalue()


async def values(pool: TimedPool) -> dict[int, float]:
    return {row["sensor_id"]: row["value"] for row in await pool.fetch("SELECT sensor_id, value FROM measurement")}


@pytest.mark.usefixtures("validator")
async def test_a_mended_registry_brings_back_what_was_refused_and_not_taken(
    settings: WriterSettings, house: House, pool: TimedPool
) -> None:
    """Corriente A is on the list, Voltaje A-N is known but not on it, Frecuencia is not yet known at all."""
    outside = Outside(pool, settings)
    replay = ("replay", "--device", "29", "--from", "2026-11-01T00:00Z", "--to", "2026-11-02T00:00Z")
    provider = Provider(id=1, name="Sur")
    await house.registers(Meta(epoch=EPOCH, created_at=1), provider, sensor(1), sensor(2), device(1))
    async with running(settings):
        await house.receives({"Corriente A": 1.0, "Voltaje A-N": 230.0, "Frecuencia": 50.0})
        await house.receives({"Corriente A": 2.0}, later_ms=5_000)
        await outside.stored(2)
        assert await values(pool) == {1: 2.0}
        assert await outside.count("rejected_measure_open") == 1

        await house.registers(sensor(3), device(1, 2, 3))
        dry = await command(settings, *replay)
        assert dry.splitlines()[0] == "1 records with 1 refused and 1 not taken values"
        assert await values(pool) == {1: 2.0}

        report = await command(settings, *replay, "--apply")
        assert "2 written, 0 corrected, 0 already present, 1 superseded, 0 refused, 0 not taken" in report
        assert await values(pool) == {1: 2.0, 2: 230.0, 3: 50.0}
        assert await outside.count("rejected_measure_open") == 0

        assert (await command(settings, *replay, "--apply")).startswith("0 records")
        assert await outside.count("ingest_batch") == 3


@pytest.mark.usefixtures("validator")
async def test_a_dead_letter_is_seen_and_replayed(
    settings: WriterSettings, house: House, pool: TimedPool, owner: TimedPool
) -> None:
    """The database refused one record; once it takes it, the letter is sent again."""
    await house.registers(Meta(epoch=EPOCH, created_at=1), Provider(id=1, name="Sur"), sensor(1), device(1))
    await owner.execute("ALTER TABLE measurement ADD CONSTRAINT no_poison CHECK (value <> 666)")
    outside = Outside(pool, settings)
    async with running(settings):
        await house.receives({"Corriente A": 666.0})
        await outside.stored(1)
        listed = await command(settings, "dead", "list")
        letter = listed.split(" ", 1)[0]
        assert "measurements.validated.v1" in listed
        assert "no_poison" in await command(settings, "dead", "show", letter)
        await owner.execute("ALTER TABLE measurement DROP CONSTRAINT no_poison")
        assert "dry run" in await command(settings, "dead", "replay", letter)
        assert "sent to" in await command(settings, "dead", "replay", letter, "--apply")
        await outside.stored(2)
    assert await values(pool) == {1: 666.0}
    (dead,) = await pool.fetch("SELECT replayed_as FROM ingest_batch WHERE status = 'dead'")
    assert dead["replayed_as"] is not None
