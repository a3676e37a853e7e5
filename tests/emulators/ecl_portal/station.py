"""The poller with everything round it, for its tests: registry on Kafka, tables in PostgreSQL, emulated portal."""

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from metering_common.contract import topics
from metering_common.contract.metadata import RecordHeaders, decode_headers
from metering_common.kafka import clients as kafka_clients
from metering_common.postgres.pool import pool
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
from metering_ecl_poller.adapters.postgres.controller_store import ControllerStore
from metering_ecl_poller.bootstrap import build, keyring
from metering_ecl_poller.domain.mapping import ControllerMapping, with_units
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.reading import read_master_data
from metering_ecl_poller.domain.proposal import propose
from metering_ecl_poller.domain.schedule import next_due_ms
from metering_ecl_poller.settings import PollerSettings
from tests.emulators.ecl_portal import fleet, server, world
from tests.emulators.ecl_portal.answers import Renderer
from tests.emulators.ecl_portal.connected import NOON_MS
from tests.emulators.ecl_portal.variant import Variant
from tests.emulators.ecl_portal.virtual_clock import VirtualClock

SENSORS = Path(__file__).parents[3] / "data" / "ecl_sensors.json"
PROVIDER = 7
READ_SECONDS = 300
SETTLED_SECONDS = 600  # a busy machine is no fault of the poller
Key = tuple[int, str, int]
"""Platform device, sensor name, Unix seconds."""


@dataclass(frozen=True)
class Arrived:
    """One record of measurements.raw.v1."""

    headers: RecordHeaders
    element: dict[str, Any]

    def values(self) -> dict[Key, Any]:
        return {
            (self.headers.device_id, value["sensorName"], measure["timestamp"]): value["sensorValue"]
            for measure in self.element["measures"]
            for value in measure["sensorValues"]
        }


class PortalTime:
    """The emulator's virtual time as the poller's clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def monotonic(self) -> float:
        return time.monotonic()


async def publish_registry(settings: KafkaSettings, device_numbers: Sequence[str]) -> dict[str, int]:
    """A registry of one provider with these devices, each with the whole heat dictionary; gives the devices' ids."""
    entries = json.loads(SENSORS.read_text())
    sensors = [Sensor(id=number, position=number, **entry) for number, entry in enumerate(entries, start=1)]
    ids = {number: 100 + place for place, number in enumerate(device_numbers)}
    listed = tuple(sensor.id for sensor in sensors)
    documents: list[RegistryDocument] = [
        Meta(epoch="6f1c2c7e-6a0f-4b7e-9a52-0d5f1f3a9b11", created_at=1),
        Provider(id=PROVIDER, name="Varme ApS"),
        *sensors,
        *(
            Device(
                id=ids[number], provider=PROVIDER, number=number, sensors=listed, interval_seconds=interval_of(number)
            )
            for number in device_numbers
        ),
    ]
    await publish_documents(settings, documents)
    return ids


async def publish_documents(
    settings: KafkaSettings, documents: Sequence[RegistryDocument], removed: Sequence[str] = ()
) -> None:
    """`removed`: keys that get a tombstone."""
    producer = kafka_clients.producer(settings)
    await producer.start()
    try:
        for document in documents:
            key, value = document_key(document).encode(), encode_document(document)
            await producer.send_and_wait(topics.REGISTRY, value, key)
        for gone in removed:
            await producer.send_and_wait(topics.REGISTRY, None, gone.encode())
    finally:
        await producer.stop()


async def read_all(settings: KafkaSettings, topic: str) -> list[Any]:
    """Every record that stands on the topic now."""
    consumer = kafka_clients.consumer(settings)
    await consumer.start()
    try:
        count = topics.load_contracts()[topic].environments[settings.environment].partitions
        partitions = [TopicPartition(topic, number) for number in range(count)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found: list[Any] = []
        async with asyncio.timeout(READ_SECONDS):
            while [one for one in partitions if await consumer.position(one) < ends[one]]:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        return found
    finally:
        await consumer.stop()


async def read_raw(settings: KafkaSettings) -> list[Arrived]:
    records = await read_all(settings, topics.RAW)
    return [Arrived(decode_headers(list(record.headers)), json.loads(record.value)) for record in records]


def stored(records: Sequence[Arrived]) -> dict[Key, Any]:
    """What the writer makes of them: per key the value of the highest rev, whatever the order of arrival."""
    newest: dict[Key, tuple[int, Any]] = {}
    for record in records:
        for key, value in record.values().items():
            if key not in newest or record.headers.rev > newest[key][0]:
                newest[key] = (record.headers.rev, value)
    return {key: value for key, (_, value) in newest.items()}


UNITS = {entry["name"]: entry["unit"] for entry in json.loads(SENSORS.read_text())}


@dataclass
class Station:
    """Two controllers on the Danish portal, one on the international one; a poller that can be started and stopped."""

    settings: PollerSettings
    emulator: server.Emulator
    register: ControllerStore
    ids: dict[str, int]

    @property
    def controllers(self) -> list[world.Controller]:
        return [one for portal in self.emulator.portals.values() for one in portal.controllers.values()]

    @property
    def now_ms(self) -> int:
        return self.emulator.clock.now_ms()

    async def hours(self, count: int) -> None:
        """Let virtual hours pass, each until every controller's poll has ended."""
        for _ in range(count):
            self.emulator.clock.advance(3_600)
            await self.settled()

    async def settled(self) -> None:
        """Until nobody who is asked at all is due."""
        async with asyncio.timeout(SETTLED_SECONDS):
            while await self.due():  # noqa: ASYNC110  what is waited for happens in a database
                await asyncio.sleep(0.02)

    async def due(self) -> list[str]:
        rows = await self.register.controllers()
        return [row["serial"] for row in rows if row["enabled"] and row["next_due"].timestamp() * 1_000 <= self.now_ms]

    async def state(self, serial: str) -> dict[str, Any]:
        (row,) = await self.register.controllers(serial)
        return dict(row)

    async def raw(self) -> list[Arrived]:
        return await read_raw(self.settings.kafka)

    def had(self) -> dict[Key, float]:
        """Every sample that the portal has now, under the keys and in the units of the platform."""
        found: dict[Key, float] = {}
        for controller in self.controllers:
            for device in controller.devices:
                if device.deleted or number_of(controller, device) not in self.ids:
                    continue
                for row in world.rows(controller, device, self.now_ms, 0):
                    for channel in device.channels:
                        key = (self.ids[number_of(controller, device)], SENSOR_OF[channel.name], row.stamp_ms // 1_000)
                        value = world.value_at(device, channel, row.true_ms)
                        found[key] = value * FACTORS.get(channel.unit or "", 1)
        return found


SHOWN = 5
TOLERANCE = 1e-9  # the emulator computes in floats, the poller in decimals
FACTORS = {"MWh": 1_000, "W": 0.001, "l/h": 0.001}
SENSOR_OF = {
    "S1 Outdoor temperature": "Temperatura exterior",
    "S2 Room temperature": "Temperatura ambiente",
    "S3 Flow temperature": "Temperatura de impulsión",
    "S4 Hot-water temperature": "Temperatura de agua caliente",
    "S5 Return temperature": "Temperatura de retorno",
    "Flow reference": "Temperatura de impulsión de referencia",
    "Energy": "Energía térmica acumulada",
    "Volume": "Volumen de calefacción acumulado",
    "Flow": "Caudal de calefacción",
    "Power": "Potencia térmica",
    "Flow temperature": "Temperatura de impulsión",
    "Return temperature": "Temperatura de retorno",
    "Pressure": "Presión de calefacción",
}


def number_of(controller: world.Controller, device: world.Device) -> str:
    kind = {"EclLogDevice": "log", "EclMBusDevice": "mbus", "EclConfigInputDevice": "input"}[device.type]
    return f"ecl-{controller.serial}-{kind}-{device.id[:8]}"


def interval_of(number: str) -> int:
    """Seconds from sample to sample of a device with a number by `number_of`."""
    return (world.QUARTER_MS if "-log-" in number else world.HOUR_MS) // 1_000


def mapping_of(controller: world.Controller, now_ms: int) -> ControllerMapping:
    """What `discover` would propose."""
    renderer = _renderer()
    master = read_master_data(renderer.master_data(controller, now_ms), renderer.dialect)
    return with_units(propose(controller.serial, master, PROVIDER, UNITS), UNITS)


@functools.cache
def _renderer() -> Renderer:
    return Renderer(Variant())


@asynccontextmanager
async def standing(settings: PollerSettings, dk_count: int = 2, com_count: int = 1) -> AsyncIterator[Station]:
    """At noon, with controllers put up twelve days ago, all mapped as `discover` proposes."""
    clock = VirtualClock(NOON_MS, rate=0)
    options = server.Options(dk_count=dk_count, com_count=com_count, clock=clock)
    async with (
        server.run(options) as emulator,
        pool(settings.database_url, application_name="test") as database,
    ):
        register = ControllerStore(database, keyring(settings), next_due_ms)
        station = Station(settings, emulator, register, {})
        numbers = [number_of(controller, device) for controller in station.controllers for device in controller.devices]
        station.ids |= await publish_registry(settings.kafka, numbers)
        for name, portal in emulator.portals.items():
            url = emulator.dk_url if name == "dk" else emulator.com_url
            for serial in portal.controllers:
                await register.add(PortalAccount(url, serial, fleet.SERVER_CODE, fleet.ACCESS_CODE), station.now_ms)
        mappings = [mapping_of(controller, station.now_ms) for controller in station.controllers]
        await register.apply_mapping(mappings, station.now_ms)
        yield station


@asynccontextmanager
async def polling(station: Station) -> AsyncIterator[None]:
    """The service in this process, on the emulator's time."""
    async with build(station.settings, PortalTime(station.emulator.clock)) as runner:
        running = asyncio.create_task(runner.run())
        yield
    running.cancel()


def differences(found: dict[Key, Any], wanted: dict[Key, float]) -> list[str]:
    """What is missing, too much, or of another value: the first few."""
    reported = [f"missing {key}" for key in sorted(wanted.keys() - found.keys())[:SHOWN]]
    reported += [f"too much {key}" for key in sorted(found.keys() - wanted.keys())[:SHOWN]]
    wrong = [key for key in found.keys() & wanted.keys() if abs(found[key] - wanted[key]) > TOLERANCE]
    return reported + [f"{key} is {found[key]}, not {wanted[key]}" for key in sorted(wrong)[:SHOWN]]
