"""A first guess at a mapping, from what the portal calls its channels; a person corrects it before it applies."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from metering_ecl_poller.domain import units
from metering_ecl_poller.domain.gaps import SamplingIntervals
from metering_ecl_poller.domain.mapping import ChannelMapping, ControllerMapping, PortalDeviceMapping
from metering_ecl_poller.domain.portal.models import DeviceType, MasterData, PortalDevice

_GUESSES: tuple[tuple[str, str, str], ...] = (
    (r"outdoor|ude(føler|temp|luft)", "°C", "Temperatura exterior"),
    (r"room|rum", "°C", "Temperatura ambiente"),
    (r"hot.?water|dhw|tank|brugsvand|vbv|beholder", "°C", "Temperatura de agua caliente"),
    (r"return.*ref|retur.*ref|ref.*return", "°C", "Temperatura de retorno de referencia"),
    (r"flow.*ref|frem.*ref|ref.*flow", "°C", "Temperatura de impulsión de referencia"),
    (r"return|retur", "°C", "Temperatura de retorno"),
    (r"flow|frem|supply", "°C", "Temperatura de impulsión"),
    (r"energ", "kWh", "Energía térmica acumulada"),
    (r"volum", "m³", "Volumen de calefacción acumulado"),
    (r"flow|gennemstr", "m³/h", "Caudal de calefacción"),
    (r"power|effekt", "kW", "Potencia térmica"),
    (r"press|tryk", "bar", "Presión de calefacción"),
    (r"wind|vind", "m/s", "Velocidad del viento"),
)
"""Pattern of the channel's name, English or Danish; the sensor's unit; the sensor. The first that fits is taken."""


def propose(serial: str, master: MasterData, provider: int, known_sensors: Iterable[str]) -> ControllerMapping:
    """One platform device per portal device. A channel that nothing fits, or whose sensor is taken already, is null."""
    known = set(known_sensors)
    devices = tuple(_device(serial, device, provider, known) for device in master.devices)
    return ControllerMapping(serial=serial, devices=devices)


class DeviceImportRow(NamedTuple):
    """A device as the file says it that `metering-admin device import` reads; lists are separated by `|`."""

    number: str
    zone: str
    interval_seconds: int
    sensors: str


def device_import_rows(
    proposal: ControllerMapping, master: MasterData, intervals: SamplingIntervals
) -> list[DeviceImportRow]:
    """What has to be registered before the proposal can apply; with the interval by which SQL finds gaps."""
    return [
        DeviceImportRow(
            number=mapped.device_number,
            zone=master.time_zone or "",
            interval_seconds=intervals.interval_of(device.type) // 1_000,
            sensors="|".join(channel.sensor for channel in mapped.channels if channel.sensor is not None),
        )
        for mapped, device in zip(proposal.devices, master.devices, strict=True)
    ]


def _device(serial: str, device: PortalDevice, provider: int, known: set[str]) -> PortalDeviceMapping:
    taken: set[str] = set()
    channels = []
    for channel in device.channels:
        sensor, unit = _guess(channel.name, channel.unit, known - taken)
        taken |= {sensor} if sensor else set()
        channels.append(
            ChannelMapping(
                external_channel_id=channel.id,
                portal_name=channel.name,
                portal_unit=channel.unit,
                sensor=sensor,
                sensor_unit=unit,
            )
        )
    return PortalDeviceMapping(
        external_device_id=device.id,
        portal_name=device.name,
        provider=provider,
        device_number=_number(serial, device),
        channels=tuple(channels),
    )


def _number(serial: str, device: PortalDevice) -> str:
    """Names controller and kind for people; the beginning of the portal's id keeps two of a kind apart."""
    kind = "ecl" if device.type is DeviceType.OTHER else device.type.value
    return f"ecl-{serial}-{kind}-{device.id[:8]}"


def _guess(name: str, unit: str | None, free: set[str]) -> tuple[str | None, str | None]:
    for pattern, sensor_unit, sensor in _GUESSES:
        if sensor in free and re.search(pattern, name, re.IGNORECASE) and _fits(unit, sensor_unit):
            return sensor, sensor_unit
    return None, None


def _fits(portal_unit: str | None, sensor_unit: str) -> bool:
    try:
        units.factor(portal_unit, sensor_unit)
    except units.UnitError:
        return False
    return True
