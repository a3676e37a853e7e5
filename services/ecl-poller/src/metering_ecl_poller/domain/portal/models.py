"""The portal's answers, typed: what the tolerant readers in reading.py make of them."""

from decimal import Decimal
from enum import StrEnum

import msgspec

Value = Decimal | str | bool | None | list[object] | dict[str, object]
"""A Decimal where it is a number or a numeric text; else the JSON value as it came, for the validator to refuse."""


class DeviceType(StrEnum):
    """The kinds of device; only the log has a history in the controller."""

    LOG = "log"
    INPUT = "input"
    MBUS = "mbus"
    OTHER = "other"


class PortalChannel(msgspec.Struct, frozen=True, kw_only=True):
    """One measured quantity of a device. `unit` as the portal spells it, None where it names none."""

    id: str
    name: str
    unit: str | None
    scale: Decimal = Decimal(1)


class PortalDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A log, a configurable input or an M-Bus meter of a controller. Fields of no use to us stay in `more`."""

    id: str
    type: DeviceType
    name: str
    active: bool
    last_read_ms: int | None
    channels: tuple[PortalChannel, ...]
    more: dict[str, object]


class MasterData(msgspec.Struct, frozen=True, kw_only=True):
    """The master data of one controller."""

    serial: str | None
    name: str | None
    application: str | None
    time_zone: str | None
    software_build: str | None
    location: dict[str, str]
    devices: tuple[PortalDevice, ...]
    more: dict[str, object]

    def device(self, device_id: str) -> PortalDevice | None:
        return next((device for device in self.devices if device.id == device_id), None)


class Sample(msgspec.Struct, frozen=True):
    """One value: `timestamp_ms` is the controller's clock in UTC, `received_ms` the portal's when it fetched it,
    `answered_ms` ours when the portal answered.
    """

    device: str
    channel: str
    timestamp_ms: int
    received_ms: int
    value: Value
    answered_ms: int


class ReadingsPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page. `unreadable` names each sample that could not be read, with the reason."""

    samples: tuple[Sample, ...]
    unreadable: tuple[str, ...]
    total_count: int | None
    total_pages: int | None
    page_size: int | None
