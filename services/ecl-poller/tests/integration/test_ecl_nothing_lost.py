"""Ten virtual days and more in which portal, clocks and installers change things: all that was measured is in SQL.

Every sample of the emulator's own account is a row of `measurement` with its value, or lies in a gap with its reason.
"""

import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from metering_ecl_poller.settings import PollerSettings
from metering_local.postgres import PostgresServer
from tests.emulators.ecl_portal import fleet, world
from tests.emulators.ecl_portal.account import map_again, recorded_gaps, unaccounted
from tests.emulators.ecl_portal.connected import DAY_MS, HOUR_MS
from tests.emulators.ecl_portal.faults import Kind, PortalFault
from tests.emulators.ecl_portal.station import Key, Station, number_of, polling, publish_documents, standing
from tests.emulators.ecl_portal.storing import Storing, storing
from tests.emulators.ecl_portal.variant import Variant

SEEDS = [int(seed) for seed in os.environ.get("ECL_SEEDS", "1 2 3").split()]
LOG, METER, TANK = 1, 2, 3


@dataclass
class Life:
    """A station with its storage, and every sample that was ever on its portals."""

    station: Station
    storage: Storing
    had: dict[Key, float]

    def remember(self) -> None:
        """Before something is deleted on the portal."""
        self.had |= self.station.had()

    async def days(self, count: float, step_hours: int = 6) -> None:
        for _ in range(round(count * 24 / step_hours)):
            self.station.emulator.clock.advance(step_hours * 3_600)
            await self.station.settled()

    async def stored(self) -> dict[Key, float]:
        return await self.storage.all_of(len(await self.station.raw()))

    async def assert_nothing_is_lost(self) -> None:
        self.remember()
        found = await self.stored()
        assert unaccounted(self.had, found, await recorded_gaps(self.station)) == []
        assert found.keys() <= self.had.keys()
        assert self.storage.counted()["refused"] == 0

    def number(self, controller: world.Controller, place: int) -> int:
        return self.station.ids[number_of(controller, controller.devices[place])]


@asynccontextmanager
async def living(
    settings: PollerSettings, server: PostgresServer, folder: Path, counts: tuple[int, int]
) -> AsyncIterator[Life]:
    async with (
        standing(settings, *counts) as station,
        storing(settings.kafka, server, folder) as storage,
        polling(station),
    ):
        yield Life(station, storage, {})


@pytest.mark.chaos  # not in CI: five samples of the mended mapping are still missing at its end (CHANGELOG, *Known*)
async def test_changes_of_portal_and_installers_lose_nothing(
    poller_settings: PollerSettings, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """What does it do? For two weeks a log application changes, a meter is made again, a channel appears, a clock runs
    three hours ahead, one is set back, log data comes late, a device is not registered for eleven days, another answers
    500 always; on both portals, with mappings mended days later.

    How is it known? Each sample of the emulator is looked up in SQL; problems and holds are seen while they last.
    """
    async with living(poller_settings, postgres_server, tmp_path, (7, 1)) as life:
        station = life.station
        for portal in station.emulator.portals.values():
            portal.speak(Variant(keeps_both=True))
        changed, made_again, grown, ahead, late, unregistered, set_back, failing = station.controllers
        fail_always(station, failing)
        await life.days(1)
        gone = f"device:{life.number(unregistered, METER)}"
        await publish_documents(poller_settings.kafka, [], removed=[gone])
        change_application(station, changed)
        life.remember()
        make_again(made_again, station.now_ms)
        add_channel(grown)
        ahead.clock_errors.append((station.now_ms, 3 * HOUR_MS))
        late.late.append((station.now_ms, station.now_ms + 6 * HOUR_MS, station.now_ms + 20 * HOUR_MS))
        await life.days(2)
        await assert_held(station, {changed.serial, made_again.serial, grown.serial, unregistered.serial})
        await assert_neighbours_of_a_failing_device_are_stored(life, failing)
        await map_again(station, [changed, made_again, grown])
        ahead.clock_errors.append((station.now_ms, 0))
        set_back.clock_errors.append((station.now_ms, -HOUR_MS))
        await life.days(0.25)
        set_back.clock_errors.append((station.now_ms, 0))
        for portal in station.emulator.portals.values():
            portal.faults.clear()
        await life.days(9)
        await map_again(station, [unregistered])
        await life.days(1)
        assert [row["problem"] for row in await station.register.devices() if row["problem"]] == []
        assert await station.register.held() == []
        await life.assert_nothing_is_lost()
        assert_doubted(life, ahead)
        reasons = {reason for spans in (await recorded_gaps(station)).values() for *_, reason in spans}
        assert "stamp_repeated" in reasons
        assert reasons <= {"stamp_repeated", "clock_changed"}


def fail_always(station: Station, controller: world.Controller) -> None:
    fault = PortalFault(kind="http500", serial=controller.serial, device=controller.devices[LOG].id)
    station.emulator.portals[controller.portal].faults.plan(fault)


def change_application(station: Station, controller: world.Controller) -> None:
    """The log ends, and another with other channels begins."""
    old = controller.devices[LOG]
    old.active, old.ended_ms = False, station.now_ms
    new = replace(old, id=old.id[::-1], active=True, ended_ms=None, created_ms=station.now_ms, extra={})
    controller.devices.append(new)


def make_again(controller: world.Controller, now_ms: int) -> None:
    """The installer deletes the meter on the portal and makes it again."""
    meter = controller.devices[METER]
    meter.deleted = True
    controller.devices.append(replace(meter, id=meter.id[::-1], deleted=False, created_ms=now_ms))


def add_channel(controller: world.Controller) -> None:
    meter = controller.devices[METER]
    meter.channels = (*meter.channels, world.Channel("bar", "Pressure", "bar", "pressure"))


async def assert_held(station: Station, serials: set[str]) -> None:
    """Status and problem name what waits; nobody else's does."""
    assert {row["serial"] for row in await station.register.held()} == serials
    problems = {row["serial"] for row in await station.register.devices() if "mapping" in str(row["problem"])}
    assert problems < serials


async def assert_neighbours_of_a_failing_device_are_stored(life: Life, failing: world.Controller) -> None:
    (row,) = await life.station.register.controllers(failing.serial)
    assert (row["state"], "HTTP 500" in row["reason"]) == ("failing", True)
    found = await life.stored()
    for place, wanted in ((LOG, False), (METER, True), (TANK, True)):
        newest = max((key[2] for key in found if key[0] == life.number(failing, place)), default=0)
        assert (newest * 1_000 > life.station.now_ms - 2 * HOUR_MS) == wanted


def assert_doubted(life: Life, controller: world.Controller) -> None:
    """What the clock ahead stamped is stored with quality 2, as the runbook says."""
    device = life.number(controller, LOG)
    assert life.storage.count(f"device_id = {device} AND quality = 2") > 100


Choices = dict[str, list[Any]]
SHAPES: Choices = {
    "nesting": ["nested", "flat", "object", "by_channel"],
    "empty": ["list", "null", "absent"],
    "master_container": [True, False],
    "location": ["nested", "flat"],
    "as_text": [True, False],
    "totals": [True, False],
    "status_in_body": [True, False],
    "status_as_object": [True, False],
    "descending": [False, False, True],
    "shuffled": [False, False, True],
    "dates": ["iso", "microsoft"],
    "error_past_the_end": [False, True],
    "ignores_pages": [False, False, False, True],
    "page_size_maximum": [1_000, 97, 24],
}
DIALECTS: list[dict[str, Any]] = [
    {},
    {"request": {"paging": "offset", "page_number": "skip", "first_page": 0, "to": "to"}},
    {"request": {"paging": "from", "device": "device", "from": "since"}},
    {
        "request": {"channels_as": "list", "channels": "sensors"},
        "paths": {
            "master_data": "/masterData/v1/{serverCode}/{eclSerial}/{eclAccessCode}",
            "readings": "/readings/v1/{eclSerial}/{externalDeviceId}/{sensors}",
        },
    },
    {"request": {"channels_as": "repeat", "page_number": "page", "first_page": 0}},
    {
        "readings": {
            "columns": ["externalChannelId", "timestamp", "receivedTime", "value"],
            "container": ["rows"],
            "total_count": ["expected"],
        }
    },
]
FAULTS: list[Kind] = ["cut", "http500", "http429", "not_json", "wrong_shape", "html403", "http410", "wrong_echo"]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_random_mix_of_variants_and_faults_loses_nothing(
    poller_settings: PollerSettings, postgres_server: PostgresServer, tmp_path: Path, seed: int
) -> None:
    """ECL_SEEDS chooses other seeds; each decides the dialect, shapes, faults, outages, clocks and installers."""
    chance = random.Random(seed)
    dialect = DIALECTS[seed % len(DIALECTS)]
    file = tmp_path / "dialect.toml"
    file.write_text(toml(dialect), encoding="utf-8")
    settings = poller_settings.model_copy(update={"dialect_file": file})
    async with living(settings, postgres_server, tmp_path, (2, 1)) as life:
        for controller in life.station.controllers:
            make_trouble(chance, controller, life.station.now_ms)
        for _ in range(24):
            speak(life.station, variant(chance, dialect))
            plan_faults(life.station, chance)
            change_something(life, chance)
            await life.days(0.25)
        speak(life.station, Variant(dialect=dialect, keeps_both=True, nesting=nesting_of(dialect)))
        for portal in life.station.emulator.portals.values():
            portal.faults.clear()
        await map_again(life.station, life.station.controllers)
        await life.days(1, step_hours=1)
        assert await life.station.register.held() == []
        await life.assert_nothing_is_lost()


def toml(table: dict[str, Any]) -> str:
    """JSON's scalars and lists are TOML's."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for section, entries in table.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    return "\n".join(lines)


def nesting_of(dialect: dict[str, Any]) -> Any:
    return "rows" if "columns" in dialect.get("readings", {}) else "nested"


def variant(chance: random.Random, dialect: dict[str, Any]) -> Variant:
    """A dialect with columns has rows without names and no other nesting."""
    chosen = {name: chance.choice(values) for name, values in SHAPES.items()}
    if nesting_of(dialect) == "rows":
        chosen["nesting"] = "rows"
    named = "channels_as" in dialect.get("request", {})
    return Variant(dialect=dialect, keeps_both=True, needs_channels=named, **chosen)


def speak(station: Station, spoken: Variant) -> None:
    for portal in station.emulator.portals.values():
        portal.speak(spoken)


def plan_faults(station: Station, chance: random.Random) -> None:
    for portal in station.emulator.portals.values():
        portal.faults.clear()
        if chance.random() < 0.4:
            kind = chance.choice(FAULTS)
            portal.faults.plan(PortalFault(kind=kind, times=chance.randint(1, 3), retry_after=0))


def make_trouble(chance: random.Random, controller: world.Controller, now_ms: int) -> None:
    """An outage, a silent meter, late log data, and a clock that goes wrong and is mended, within the six days."""
    hours = [now_ms + chance.randrange(4 * 24) * HOUR_MS for _ in range(4)]
    controller.outages.append((hours[0], hours[0] + chance.randint(1, 20) * HOUR_MS))
    controller.devices[METER].silent.append((hours[1], hours[1] + chance.randint(2, 9) * HOUR_MS))
    controller.late.append((hours[2], hours[2] + 5 * HOUR_MS, hours[2] + chance.randint(8, 24) * HOUR_MS))
    error = chance.choice([-3 * HOUR_MS, -HOUR_MS, 2 * HOUR_MS, -2 * DAY_MS])
    controller.clock_errors += [(hours[3], error), (hours[3] + chance.randint(3, 12) * HOUR_MS, 0)]


def change_something(life: Life, chance: random.Random) -> None:
    """An installer at work, now and then."""
    controller = chance.choice(life.station.controllers)
    untouched = len(controller.devices) == len(fleet.controller("dk", "1", 0, 12).devices)
    if untouched and chance.random() < 0.2:
        life.remember()
        if chance.random() < 0.5:
            change_application(life.station, controller)
        else:
            make_again(controller, life.station.now_ms)
