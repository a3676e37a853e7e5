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


class InputSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a configurable input is set up on the portal (guide, section 8.2.2)."""

    low: Decimal | None = None
    """The real value at 0 V and, as `high`, at 10 V: analog inputs only."""
    high: Decimal | None = None
    opened: str | None = None
    """The texts of the two states: digital inputs and flow switches only."""
    closed: str | None = None
    full_scale: Decimal = Decimal(10)
    """The raw value at `high`."""

    @property
    def is_analog(self) -> bool:
        return self.low is not None and self.high is not None

    @property
    def gain(self) -> Decimal:
        """What one unit of the raw value is worth."""
        return Decimal(1) if self.low is None or self.high is None else (self.high - self.low) / self.full_scale

    @property
    def states(self) -> dict[str, Decimal]:
        """The values of the state texts, casefolded: closed is 1, open is 0."""
        known = {"true": Decimal(1), "false": Decimal(0)} if self.opened or self.closed else {}
        texts = ((self.closed, Decimal(1)), (self.opened, Decimal(0)))
        return known | {text.strip().casefold(): value for text, value in texts if text}


class PortalDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A log, a configurable input or an M-Bus meter of a controller. Fields of no use to us stay in `more`."""

    id: str
    type: DeviceType
    name: str
    active: bool
    last_read_ms: int | None
    created_ms: int | None = None
    input: InputSettings = InputSettings()
    channels: tuple[PortalChannel, ...]
    more: dict[str, object]

    @property
    def channel_ids(self) -> tuple[str, ...]:
        return tuple(channel.id for channel in self.channels)


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
