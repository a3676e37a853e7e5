"""The whole poller against real Kafka and PostgreSQL and the emulated portal, hour by virtual hour."""

from dataclasses import dataclass

import pytest

from metering_common.contract import topics
from metering_common.contract.rev import mapping_rev
from metering_common.postgres.instants import unix_ms_of
from metering_common.postgres.pool import pool
from metering_common.registry.documents import Device
from metering_common.service.settings import TracingSettings
from metering_ecl_poller.adapters.kafka.answers import from_record
from metering_ecl_poller.adapters.postgres.controller_store import ControllerStore
from metering_ecl_poller.bootstrap import keyring
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.settings import PollerSettings
from tests.emulators.ecl_portal import fleet, world
from tests.emulators.ecl_portal.connected import DAY_MS, HOUR_MS, NOON_MS
from tests.emulators.ecl_portal.faults import PortalFault
from tests.emulators.ecl_portal.station import (
    PROVIDER,
    Arrived,
    Key,
    Station,
    differences,
    number_of,
    polling,
    publish_documents,
    read_all,
    standing,
    stored,
)
from tests.integration.otlp_collector import collecting


def since(values: dict[Key, float], unix_ms: int) -> dict[Key, float]:
    return {key: value for key, value in values.items() if key[2] * 1_000 >= unix_ms}


REMEMBERED_MS = NOON_MS + HOUR_MS - 10 * DAY_MS
"""What the first poll, an hour after noon, can reach back to."""


async def test_every_sample_once_with_its_headers_and_every_answer_kept(poller_settings: PollerSettings) -> None:
    async with standing(poller_settings, 1, 1) as station:
        async with polling(station):
            await station.hours(1)
            first, had_first = stored(await station.raw()), station.had()
            await station.hours(3)
        assert differences(since(first, REMEMBERED_MS), since(had_first, REMEMBERED_MS)) == []
        assert differences(since(stored(await station.raw()), REMEMBERED_MS), since(station.had(), REMEMBERED_MS)) == []
        records_are_as_designed(station, await station.raw())
        await answers_are_kept_without_the_codes(station)
        for portal in station.emulator.portals.values():
            most = dict(portal.most_at_once)
            assert most.pop("all") <= poller_settings.max_requests
            assert max(most.values()) == 1


async def test_a_poll_is_a_trace_that_its_records_carry(poller_settings: PollerSettings) -> None:
    with collecting() as collector:
        tracing = TracingSettings(exporter_otlp_endpoint=collector.url)
        async with standing(poller_settings.model_copy(update={"tracing": tracing}), 1, 0) as station:
            async with polling(station):
                await station.hours(1)
            carried = {record.headers.traceparent for record in await station.raw()}
    polls = [span for span in collector.spans if (span.service, span.name) == ("ecl-poller", "poll")]
    assert [span.attributes["metering.controller"] for span in polls] == [station.controllers[0].serial] * len(polls)
    assert carried
    assert {str(traceparent)[:-3] for traceparent in carried} <= {f"00-{span.trace}-{span.id}" for span in polls}


async def test_a_controller_just_added_is_asked_within_a_minute(poller_settings: PollerSettings) -> None:
    async with standing(poller_settings, 1, 0) as station:
        [controller] = station.controllers
        async with (
            polling(station),
            pool(poller_settings.database_url, application_name="tool") as database,
        ):
            url = station.emulator.dk_url
            account = PortalAccount(url, controller.serial, fleet.SERVER_CODE, fleet.ACCESS_CODE)
            assert not await ControllerStore(database, keyring(poller_settings)).add(account, station.now_ms)
            assert [row["polled_at"] for row in await station.register.controllers()] == [None]
            station.emulator.clock.advance(60)
            await station.settled()
            assert [unix_ms_of(row["polled_at"]) for row in await station.register.controllers()] == [station.now_ms]


def records_are_as_designed(station: Station, records: list[Arrived]) -> None:
    for record in records:
        stamps = [measure["timestamp"] for measure in record.element["measures"]]
        headers = record.headers
        assert len(stamps) <= 100
        assert max(stamps) - min(stamps) <= 86_400
        assert (headers.source, headers.gateway_id, headers.provider_id) == ("ecl", None, PROVIDER)
        assert headers.rev == mapping_rev(headers.received_at_ms, 1)
        assert station.ids[record.element["deviceNumber"]] == headers.device_id
        assert headers.items <= 100
        assert not headers.clock_doubtful


async def answers_are_kept_without_the_codes(station: Station) -> None:
    records = await read_all(station.settings.kafka, topics.ECL_ANSWERS)
    kept = [from_record(list(record.headers), record.value) for record in records]
    asked = sum(sum(portal.seen.values()) for portal in station.emulator.portals.values())
    assert len(kept) == asked
    assert {answer.answer.call for answer in kept} == {"masterData", "readings"}
    assert {record.key.decode() for record in records} == {controller.serial for controller in station.controllers}
    for record in records:
        for code in (fleet.ACCESS_CODE, fleet.SERVER_CODE):
            assert code.encode() not in record.value + repr(record.headers).encode()


async def test_long_outages(poller_settings: PollerSettings) -> None:
    """Five days without the poller: the portal has everything. Eleven days without the line: the log forgets one."""
    async with standing(poller_settings, 2, 0) as station:
        cut, reached = station.controllers
        async with polling(station):
            await station.hours(1)
        station.emulator.clock.advance(5 * 86_400)
        async with polling(station):
            await station.settled()
            assert (
                differences(since(stored(await station.raw()), REMEMBERED_MS), since(station.had(), REMEMBERED_MS))
                == []
            )
            assert await station.register.gaps() == []
            cut.outages.append((station.now_ms, station.now_ms + 11 * DAY_MS))
            station.emulator.clock.advance(11 * 86_400)
            await station.settled()
            await station.hours(2)
        begin = NOON_MS + HOUR_MS
        assert differences(since(stored(await station.raw()), begin), since(station.had(), begin)) == []
        assert await gaps_of(station) == {
            *expected_gaps(station, cut, cut.devices[1], "log_overwritten"),
            *expected_gaps(station, cut, cut.devices[2], "no_contact"),
            *expected_gaps(station, cut, cut.devices[3], "no_contact"),
        }
        assert await gaps_of(station, reached) == set()


Hole = tuple[str, str, int, int, str]
"""Device, channel, from and to in Unix milliseconds, reason."""


async def gaps_of(station: Station, controller: world.Controller | None = None) -> set[Hole]:
    return {
        (row["device"], channel, unix_ms_of(row["from_at"]), unix_ms_of(row["to_at"]), row["reason"])
        for row in await station.register.gaps(None if controller is None else controller.serial)
        for channel in row["channels"]
    }


def expected_gaps(station: Station, controller: world.Controller, device: world.Device, reason: str) -> set[Hole]:
    """The emulator's truth."""
    spans = world.gaps(controller, device, station.now_ms)
    assert spans
    return {(device.id, channel.id, *span, reason) for span in spans for channel in device.channels}


@dataclass
class Troubles:
    """Eight controllers, each with a trouble of its own, and one without any."""

    station: Station
    start: int = 0

    def __post_init__(self) -> None:
        (self.well, self.cut, self.silent, self.denied, self.open_wire, self.deleting, self.changed, self.unknown) = (
            self.station.controllers
        )
        self.unknown_number = number_of(self.unknown, self.unknown.devices[1])

    def begin(self) -> None:
        start = self.start = self.station.now_ms
        self.cut.outages.append((start, start + 4 * HOUR_MS))
        self.silent.devices[2].silent.append((start, start + 3 * HOUR_MS))
        self.denied.access_codes[fleet.ACCESS_CODE] = False
        self.open_wire.devices[1].open_from_ms["1"] = start
        self.deleting.devices[2].deleted = True
        meter = self.changed.devices[2]
        meter.channels = (world.Channel("energy", "Energy", "kWh", "energy"), *meter.channels[1:])

    async def register_the_unknown(self) -> None:
        number, device = self.unknown_number, self.station.ids[self.unknown_number]
        registered = Device(id=device, provider=PROVIDER, number=number, sensors=(1,))
        await publish_documents(self.station.settings.kafka, [registered])

    async def check_status(self, printed: str) -> None:
        rows = {row["serial"]: row["state"] for row in await self.station.register.controllers()}
        devices = {row["device"]: row for row in await self.station.register.devices()}
        assert rows == dict.fromkeys(rows, "polled") | {self.denied.serial: "denied"}
        (line,) = [line for line in printed.splitlines() if "controller.denied" in line]
        assert self.denied.serial in line
        assert "ACCESS_DENIED" in line
        assert [device for device, row in devices.items() if row["gone_since"]] == [self.deleting.devices[2].id]
        assert {device: row["problem"] for device, row in devices.items() if row["problem"]} == {
            self.changed.devices[2].id: "channel energy: the portal's unit is kWh, the mapping was made for MWh",
            self.unknown.devices[1].id: f"device {self.unknown_number} of provider {PROVIDER} is not registered",
        }

    async def check_gaps(self) -> None:
        assert await gaps_of(self.station) == {
            *expected_gaps(self.station, self.cut, self.cut.devices[2], "no_contact"),
            *expected_gaps(self.station, self.cut, self.cut.devices[3], "no_contact"),
            *expected_gaps(self.station, self.silent, self.silent.devices[2], "device_silent"),
        }

    async def check_samples(self) -> None:
        ids = self.station.ids
        found = since(stored(await self.station.raw()), self.start)
        held = (ids[number_of(self.changed, self.changed.devices[2])], "Energía térmica acumulada")
        gone = ids[number_of(self.deleting, self.deleting.devices[2])]
        wanted = {key: value for key, value in since(self.station.had(), self.start).items() if key[:2] != held}
        assert differences({key: value for key, value in found.items() if key[0] != gone}, wanted) == []
        outdoor = (ids[number_of(self.open_wire, self.open_wire.devices[1])], "Temperatura exterior")
        assert found[*outdoor, self.start // 1_000 + 900] == 192.0


async def test_a_bad_day_hurts_each_controller_alone(
    poller_settings: PollerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with standing(poller_settings, 8, 0) as station:
        troubles = Troubles(station)
        gone = f"device:{station.ids[troubles.unknown_number]}"
        await publish_documents(poller_settings.kafka, [], removed=[gone])
        async with polling(station):
            await station.hours(1)
            troubles.begin()
            await station.hours(6)
            await troubles.check_status(capsys.readouterr().out)
            troubles.denied.access_codes[fleet.ACCESS_CODE] = True
            await station.register.readmit(troubles.denied.serial, station.now_ms)
            await troubles.register_the_unknown()
            await station.hours(2)
        await troubles.check_gaps()
        await troubles.check_samples()


async def test_a_wrong_clock_is_told_in_headers_and_status_and_nothing_is_lost(
    poller_settings: PollerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three clocks go wrong and are mended after six hours.

    What they stamped wrongly is all there, and doubted, or gave way to a trusted sample of the same stamp and is a gap.
    """
    errors = {-3 * HOUR_MS: "zone_suspect", -6 * DAY_MS: "wrong", 2 * HOUR_MS: "zone_suspect"}
    async with standing(poller_settings, 3, 0) as station:
        wrong = dict(zip(errors, station.controllers, strict=True))
        async with polling(station):
            await station.hours(2)
            for error, controller in wrong.items():
                controller.clock_errors.append((station.now_ms, error))
            await station.hours(6)
            reported = {row["serial"]: row for row in await station.register.controllers()}
            for controller in wrong.values():
                controller.clock_errors.append((station.now_ms, 0))
            await station.hours(3)
        records = await station.raw()
        found = stored(records)
        for error, controller in wrong.items():
            row = reported[controller.serial]
            assert (row["clock_state"], round(row["clock_offset_ms"] / HOUR_MS)) == (errors[error], -error / HOUR_MS)
            assert (await station.state(controller.serial))["clock_state"] == "right"
            gave_way = {gap[2] // 1_000 for gap in await gaps_of(station, controller) if gap[4] == "stamp_repeated"}
            assert stamped_wrong(station, controller) <= doubted(station, controller, records) | gave_way
        assert since(station.had(), REMEMBERED_MS).keys() <= found.keys()
        lines = [line for line in capsys.readouterr().out.splitlines() if "clock.changed" in line]
        assert len(lines) == 2 * len(errors)


async def test_a_clock_that_was_always_years_behind_is_found_and_reported(poller_settings: PollerSettings) -> None:
    """The guide's example of 2014 with a clock in 2012: no sample lies in the last ten days."""
    async with standing(poller_settings, 1, 0) as station:
        (controller,) = station.controllers
        controller.clock_errors.append((0, -545 * DAY_MS))
        async with polling(station):
            await station.hours(3)
        assert (await station.state(controller.serial))["clock_state"] == "wrong"
        records = await station.raw()
        found, begin = stored(records), NOON_MS + HOUR_MS - 555 * DAY_MS
        assert differences(since(found, begin), since(station.had(), begin)) == []
        assert all(record.headers.clock_doubtful for record in records)


def stamped_wrong(station: Station, controller: world.Controller) -> set[int]:
    rows = world.rows(controller, controller.devices[1], station.now_ms, 0)
    return {row.stamp_ms // 1_000 for row in rows if row.stamp_ms != row.true_ms}


def doubted(station: Station, controller: world.Controller, records: list[Arrived]) -> set[int]:
    device = station.ids[number_of(controller, controller.devices[1])]
    return {
        stamp
        for record in records
        if record.headers.clock_doubtful and record.headers.device_id == device
        for (_, _, stamp) in record.values()
    }


async def test_a_portal_that_fails_in_every_way_is_asked_again_and_nothing_is_lost(
    poller_settings: PollerSettings,
) -> None:
    async with standing(poller_settings, 1, 1) as station:
        async with polling(station):
            await station.hours(1)
            for kind in ("http500", "cut", "not_json", "wrong_shape", "http429"):
                for portal in station.emulator.portals.values():
                    portal.faults.plan(PortalFault(kind=kind, times=1, retry_after=0))
            await station.hours(2)
            for _ in range(4):
                station.emulator.clock.advance(1_200)
                await station.settled()
            await station.hours(1)
        assert differences(since(stored(await station.raw()), REMEMBERED_MS), since(station.had(), REMEMBERED_MS)) == []
        assert {row["state"] for row in await station.register.controllers()} == {"polled"}
