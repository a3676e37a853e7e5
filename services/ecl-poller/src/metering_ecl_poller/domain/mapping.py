"""Portal device and channel to platform device and sensor: the mapping a person corrects and the poller applies."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

import msgspec

from metering_ecl_poller.domain import units
from metering_ecl_poller.domain.portal.models import InputSettings, PortalChannel, PortalDevice, Value

SERIAL = re.compile(r"[0-9]{1,10}")  # a 32-bit number


class _Entry(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A mistyped key in a mapping file is refused, so that it cannot do nothing."""


class ChannelMapping(_Entry, frozen=True, kw_only=True):
    """`sensor` null: this channel is not taken. `portal_unit` is what the value is in, as accepted by a person."""

    external_channel_id: str
    portal_name: str = ""
    portal_unit: str | None = None
    sensor: str | None = None
    sensor_unit: str | None = None
    """The dictionary's unit of `sensor`."""


class PortalDeviceMapping(_Entry, frozen=True, kw_only=True):
    """One platform device per portal device, by the provider's number for it."""

    external_device_id: str
    portal_name: str = ""
    provider: int
    device_number: str
    channels: tuple[ChannelMapping, ...]


class ControllerMapping(_Entry, frozen=True, kw_only=True):
    serial: str
    devices: tuple[PortalDeviceMapping, ...]

    def device(self, device_id: str) -> PortalDeviceMapping | None:
        return next((device for device in self.devices if device.external_device_id == device_id), None)


class MappingFile(_Entry, frozen=True, kw_only=True):
    """What `discover` proposes and `mapping apply` takes."""

    controllers: tuple[ControllerMapping, ...]


class MappingVersion(msgspec.Struct, frozen=True):
    """A mapping and the times whose answers it was applied to again."""

    version: int
    mapping: ControllerMapping
    remapped: tuple[tuple[int, int], ...]


class ChannelRoute(NamedTuple):
    """How a channel's values travel: under which sensor name, and how they become values in the sensor's unit."""

    sensor: str
    factor: Decimal
    offset: Decimal = Decimal(0)
    texts: Mapping[str, Decimal] = {}
    """Values of state texts, by their casefolded text."""

    def number(self, value: Value) -> Value:
        """Returns the value in the sensor's unit; what is no number stays as it is, for the validator to refuse.

        Raises `decimal.Inexact` and `decimal.Overflow` rather than round.
        """
        if isinstance(value, str | bool) and str(value).casefold() in self.texts:
            value = self.texts[str(value).casefold()]
        if not isinstance(value, Decimal):
            return value
        product = units.converted(value, self.factor)
        return units.added(product, self.offset) if self.offset else product


NO_ENTRY = "it has no entry in the mapping: metering-ecl discover, then mapping apply"


class DeviceRoutes(NamedTuple):
    """What of a device can be mapped now. `held`: channel to why its values wait; `ignored`: not taken on purpose."""

    routes: dict[str, ChannelRoute]
    held: dict[str, str]
    ignored: frozenset[str] = frozenset()
    device_reason: str | None = None
    """Why all channels wait."""

    def all_held(self, why: str) -> "DeviceRoutes":
        return DeviceRoutes({}, {}, self.ignored, why)

    def held_among(self, channels: Iterable[str]) -> dict[str, str]:
        """Returns those of the channels that wait, with the reason; one that is in no list has no entry."""
        return {
            channel: self.device_reason or self.held.get(channel, NO_ENTRY)
            for channel in channels
            if channel not in self.routes and channel not in self.ignored
        }

    def problem(self, holds: Iterable[str]) -> str | None:
        """Returns what a person must mend, or None when nothing waits. `holds`: the channels that are held."""
        if self.device_reason is not None:
            return self.device_reason
        held = self.held | self.held_among(holds)
        return "; ".join(f"channel {channel}: {why}" for channel, why in sorted(held.items())) or None


def plan_routes(mapping: PortalDeviceMapping | None, device: PortalDevice) -> DeviceRoutes:
    """Returns the routes of a device's channels; without a mapping all of them are held.

    A channel whose declared unit is no longer the one that was accepted is held: 17 kWh must not become 17 MWh.
    """
    if mapping is None:
        return DeviceRoutes({}, {}, device_reason=NO_ENTRY)
    declared = {channel.id: channel for channel in device.channels}
    routes, held = {}, {}
    for entry in mapping.channels:
        if entry.sensor is None:
            continue
        try:
            routes[entry.external_channel_id] = _route(entry, declared.get(entry.external_channel_id), device.input)
        except units.UnitError as error:
            held[entry.external_channel_id] = str(error)
    ignored = frozenset(entry.external_channel_id for entry in mapping.channels if entry.sensor is None)
    return DeviceRoutes(routes, held, ignored)


def _route(entry: ChannelMapping, channel: PortalChannel | None, settings: InputSettings) -> ChannelRoute:
    unit = channel.unit if channel is not None and channel.unit is not None else entry.portal_unit
    if units.canonical(unit) != units.canonical(entry.portal_unit):
        raise units.UnitError(f"the portal's unit is {unit}, the mapping was made for {entry.portal_unit}")
    by = units.factor(entry.portal_unit, entry.sensor_unit or "")
    scale = channel.scale if channel is not None else Decimal(1)
    return ChannelRoute(
        entry.sensor or "",
        units.converted(units.converted(by, scale), settings.gain),
        units.converted(by, settings.low) if settings.is_analog and settings.low is not None else Decimal(0),
        settings.states,
    )


def faults(file: MappingFile, sensor_units: dict[str, str]) -> list[str]:
    """What a person must correct before the file can be applied. `sensor_units`: the dictionary, names and aliases."""
    found = [f"controller {serial} stands in the file twice" for serial in _twice(c.serial for c in file.controllers)]
    for controller in file.controllers:
        numbers = _twice(f"{device.provider}/{device.device_number}" for device in controller.devices)
        found += [f"{controller.serial}: device number {number} is used twice" for number in numbers]
        devices = _twice(device.external_device_id for device in controller.devices)
        found += [f"{controller.serial}: portal device {device} is mapped twice" for device in devices]
        for device in controller.devices:
            found += [f"{controller.serial} {device.device_number}: {fault}" for fault in _of(device, sensor_units)]
    return found


def _of(device: PortalDeviceMapping, sensor_units: dict[str, str]) -> list[str]:
    channels = _twice(channel.external_channel_id for channel in device.channels)
    found = [f"channel {channel} is mapped twice" for channel in channels]
    taken = [channel for channel in device.channels if channel.sensor is not None]
    found += [f"two channels feed {sensor}" for sensor in _twice(channel.sensor or "" for channel in taken)]
    for channel in taken:
        unit = sensor_units.get(channel.sensor or "")
        if unit is None:
            found.append(f"channel {channel.external_channel_id}: {channel.sensor} is not in the dictionary")
            continue
        try:
            units.factor(channel.portal_unit, unit)
        except units.UnitError as error:
            found.append(f"channel {channel.external_channel_id}: {error}")
    return found


def with_units(controller: ControllerMapping, sensor_units: dict[str, str]) -> ControllerMapping:
    """The dictionary's units written down: a mapping version means the same for ever."""

    def completed(channel: ChannelMapping) -> ChannelMapping:
        return msgspec.structs.replace(channel, sensor_unit=sensor_units.get(channel.sensor or ""))

    devices = tuple(
        msgspec.structs.replace(device, channels=tuple(completed(channel) for channel in device.channels))
        for device in controller.devices
    )
    return msgspec.structs.replace(controller, devices=devices)


def _twice(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
