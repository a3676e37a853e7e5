"""The whole poller against real Kafka and PostgreSQL and the emulated portal, hour by virtual hour."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from metering_common.postgres import pool
from metering_ecl_poller.adapters.register import Register
from metering_ecl_poller.bootstrap import build, keyring
from metering_ecl_poller.domain.mapping import ControllerMapping, with_units
from metering_ecl_poller.domain.proposal import propose
from metering_ecl_poller.portal.address import Account
from metering_ecl_poller.portal.dialect import load_dialect
from metering_ecl_poller.portal.reading import read_master_data
from metering_ecl_poller.settings import PollerSettings
from tests.emulators.ecl_portal import fleet, server, world
from tests.emulators.ecl_portal.answers import Renderer
from tests.emulators.ecl_portal.line import DAY_MS, HOUR_MS, MINUTE_MS, NOON_MS
from tests.emulators.ecl_portal.station import (
    PROVIDER,
    SENSORS,
    Arrived,
    Key,
    PortalTime,
    publish_registry,
    read_raw,
    stored,
)
from tests.emulators.ecl_portal.variant import Variant
from tests.emulators.ecl_portal.virtual_clock import VirtualClock

UNITS = {entry["name"]: entry["unit"] for entry in json.loads(SENSORS.read_text())}
PER_HOUR_MS = 60 * MINUTE_MS


@dataclass
class Station:
    """Two controllers on the Danish portal, one on the international one; a poller that can be started and stopped."""

    settings: PollerSettings
    emulator: server.Emulator
    register: Register
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
        async with asyncio.timeout(20):
            while await self.due():  # noqa: ASYNC110  what is waited for happens in a database
                await asyncio.sleep(0.02)

    async def due(self) -> list[str]:
        rows = await self.register.controllers()
        return [
            row["serial"]
            for row in rows
            if row["enabled"] and row["state"] != "denied" and row["next_due"].timestamp() * 1_000 <= self.now_ms
        ]

    async def state(self, serial: str) -> dict[str, Any]:
        (row,) = await self.register.controllers(serial)
        return dict(row)

    async def raw(self) -> list[Arrived]:
        return await read_raw(self.settings.kafka)

    def had(self, *, mapped: bool = True) -> dict[Key, float]:
        """Every sample that the portal has now, under the keys and in the units of the platform."""
        assert mapped
        found: dict[Key, float] = {}
        for controller in self.controllers:
            for device in controller.devices:
                for row in world.rows(controller, device, self.now_ms, 0):
                    for channel in device.channels:
                        key = (self.ids[number_of(controller, device)], SENSOR_OF[channel.name], row.stamp_ms // 1_000)
                        value = world.value_at(device, channel, row.true_ms)
                        found[key] = value * FACTORS.get(channel.unit or "", 1)
        return found


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


def mapping_of(controller: world.Controller, now_ms: int) -> ControllerMapping:
    """What `discover` would propose."""
    document = Renderer(Variant()).master_data(controller, now_ms)
    return with_units(propose(controller.serial, read_master_data(document, load_dialect()), PROVIDER, UNITS), UNITS)


@pytest.fixture
async def station(poller_settings: PollerSettings) -> AsyncIterator[Station]:
    """At the moment of the portal's history at which the controllers were put up eleven days ago."""
    clock = VirtualClock(NOON_MS, rate=0)
    options = server.Options(dk_count=2, com_count=1, clock=clock)
    async with (
        server.run(options) as emulator,
        pool(poller_settings.database_url, application_name="test") as database,
    ):
        register = Register(database, keyring(poller_settings))
        station = Station(poller_settings, emulator, register, {})
        numbers = [number_of(controller, device) for controller in station.controllers for device in controller.devices]
        station.ids |= await publish_registry(poller_settings.kafka, numbers)
        for name, portal in emulator.portals.items():
            url = emulator.dk_url if name == "dk" else emulator.com_url
            for serial in portal.controllers:
                await register.add(Account(url, serial, fleet.SERVER_CODE, fleet.ACCESS_CODE), station.now_ms)
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


def same(found: dict[Key, Any], wanted: dict[Key, float]) -> bool:
    return found.keys() == wanted.keys() and all(abs(found[key] - wanted[key]) < 1e-9 for key in wanted)


async def test_the_first_poll_brings_what_the_log_remembers_and_the_next_ones_every_sample(station: Station) -> None:
    async with polling(station):
        await station.hours(1)
        first = stored(await station.raw())
        await station.hours(3)
    had = station.had()
    since = (NOON_MS + HOUR_MS - 10 * DAY_MS) // 1_000
    wanted = {key: value for key, value in had.items() if key[2] >= since}
    found = {key: value for key, value in stored(await station.raw()).items() if key[2] >= since}
    assert len(first) > 3 * 900 * 6
    assert same(found, wanted)
