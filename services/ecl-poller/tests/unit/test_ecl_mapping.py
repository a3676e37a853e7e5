"""Which channel goes where, what a wrong mapping file is reported, and how long a portal is left in peace."""

from decimal import Decimal
from typing import ClassVar

import pytest

from metering_ecl_poller.domain import circuit_breaker, mapping
from metering_ecl_poller.domain.mapping import (
    ChannelMapping,
    ChannelRoute,
    ControllerMapping,
    MappingFile,
    PortalDeviceMapping,
)
from metering_ecl_poller.domain.portal.models import DeviceType, PortalChannel, PortalDevice

pytestmark = pytest.mark.fast


def device(*channels: PortalChannel) -> PortalDevice:
    return PortalDevice(
        id="d", type=DeviceType.MBUS, name="m", active=True, last_read_ms=None, channels=channels, more={}
    )


def mapped(*channels: ChannelMapping, number: str = "n") -> PortalDeviceMapping:
    return PortalDeviceMapping(external_device_id="d", provider=1, device_number=number, channels=channels)


def channel(number: str = "1", *, sensor: str | None = "E") -> ChannelMapping:
    return ChannelMapping(external_channel_id=number, portal_unit="MWh", sensor=sensor, sensor_unit="kWh")


class TestMapping:
    UNITS: ClassVar = {"E": "kWh", "T": "°C"}

    def faults(self, *devices: PortalDeviceMapping) -> list[str]:
        return mapping.faults(MappingFile(controllers=(ControllerMapping(serial="1", devices=devices),)), self.UNITS)

    def test_a_channel_is_wired_with_its_factor_and_its_scale(self) -> None:
        portal = device(PortalChannel(id="1", name="Energy", unit="MWh", scale=Decimal("0.01")))
        assert mapping.plan_routes(mapped(channel()), portal).routes == {"1": ChannelRoute("E", Decimal("10.00"))}

    def test_a_channel_whose_unit_changed_is_held(self) -> None:
        portal = device(PortalChannel(id="1", name="Energy", unit="kWh"))
        routed = mapping.plan_routes(mapped(channel()), portal)
        assert routed.routes == {}
        assert "the mapping was made for MWh" in routed.held["1"]

    def test_without_a_declared_unit_the_mappings_own_holds(self) -> None:
        portal = device(PortalChannel(id="1", name="Energy", unit=None))
        assert mapping.plan_routes(mapped(channel()), portal).routes == {"1": ChannelRoute("E", Decimal(1_000))}

    def test_a_sensor_that_is_null_is_not_taken(self) -> None:
        assert mapping.plan_routes(mapped(channel(sensor=None)), device()).routes == {}

    def test_a_good_file_has_no_faults(self) -> None:
        assert self.faults(mapped(channel())) == []

    def test_every_fault_of_a_file_is_named(self) -> None:
        found = self.faults(
            mapped(channel(sensor="X"), channel("2", sensor="T")),
            mapped(channel(), channel("3")),
        )
        assert found == [
            "1: device number 1/n is used twice",
            "1: portal device d is mapped twice",
            "1 n: channel 1: X is not in the dictionary",
            "1 n: channel 2: no conversion from MWh to °C is declared",
            "1 n: two channels feed E",
        ]


class TestCircuitBreaker:
    def test_a_429_rests_the_portal_for_as_long_as_it_says(self) -> None:
        portal = circuit_breaker.PortalCircuitBreaker()
        portal.busy("dk", 0, 17)
        assert portal.resting(16.9) == ["dk"]
        assert portal.resting(17) == []

    def test_a_portal_that_answers_nobody_rests_longer_each_time_until_it_answers(self) -> None:
        portal = circuit_breaker.PortalCircuitBreaker()
        rests = []
        now = 0.0
        for _ in range(6):
            for _ in range(circuit_breaker.FAILURES_TO_PAUSE):
                portal.failed("dk", now)
            rests.append(next(second for second in range(1_000) if not portal.resting(now + second)))
            now += rests[-1]
        assert rests == [15, 30, 60, 120, 240, 300]
        portal.answered("dk")
        for _ in range(circuit_breaker.FAILURES_TO_PAUSE - 1):
            portal.failed("dk", now)
        assert portal.resting(now) == []
