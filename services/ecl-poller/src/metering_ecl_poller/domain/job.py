"""A controller that this process holds for the moment: what it knew when it took it, and what the poll changes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from metering_ecl_poller.domain.gaps import Gap
from metering_ecl_poller.domain.holds import Holds
from metering_ecl_poller.domain.mapping import ControllerMapping
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.trust import TrustedSpan
from metering_ecl_poller.domain.window import Cursor


class ControllerLeaseLostError(Exception):
    """Another replica holds the controller by now: this one must store nothing more."""


@dataclass
class DeviceState:
    """What is remembered of one portal device; moved on as the poll goes."""

    cursors: dict[str, Cursor] = field(default_factory=dict)
    """By channel: how far it was read."""
    holds: Holds = field(default_factory=dict)
    open_gaps: tuple[Gap, ...] = ()
    """Gaps that the controller's log may still fill."""
    trusted: tuple[TrustedSpan, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PollJob:
    """`lease` is the number of this holding; `attempts` failures in a row came before it."""

    account: PortalAccount
    lease: int
    attempts: int
    state: str
    clock_state: str | None
    clock_offset_ms: int | None
    mapping: ControllerMapping | None
    mapping_version: int
    devices: dict[str, DeviceState] = field(default_factory=dict)
    traceparent: str | None = None
    """Of the poll, for the records that it brings."""

    @property
    def serial(self) -> str:
        return self.account.serial

    def device(self, device_id: str) -> DeviceState:
        return self.devices.setdefault(device_id, DeviceState())


@dataclass(frozen=True, kw_only=True)
class DeviceProgress:
    """What a device's read changes in the database, in one transaction, after Kafka's acknowledgement."""

    device: str
    cursors: dict[str, Cursor]
    gaps: Sequence[Gap]
    window: tuple[int, int] | None
    """From and to, in which `gaps` are all the gaps between samples; None when nothing was read."""
    holds: Holds
    trusted: tuple[TrustedSpan, ...]
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class RecordedProgress:
    """What of a device's progress was not known before: the reasons of new gaps, one per channel, and a problem."""

    gaps: Sequence[str]
    problem_is_new: bool


@dataclass(frozen=True, kw_only=True)
class PollResult:
    """How a poll ended. `polled_at_ms` None: it failed, and the last success stays."""

    state: str
    reason: str | None
    attempts: int
    next_due_ms: int
    polled_at_ms: int | None
