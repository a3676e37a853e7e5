"""What notes say together: per device and per register, from when to when readings were touched."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class Note(NamedTuple):
    """A row of `register_note`. Times are microseconds since 1970; None where nothing was accepted."""

    device: int
    sensors: Sequence[int]
    """None of them: all that the device has sent."""
    since: int | None
    upto: int | None
    whole: bool
    """Everything there is, since the registry has changed."""
    received_at: datetime | None


@dataclass(slots=True)
class Span:
    """From the first touched time to the last; `whole` stands for all there is."""

    since: int
    upto: int
    whole: bool = False

    def plus(self, other: "Span") -> "Span":
        return Span(min(self.since, other.since), max(self.upto, other.upto), self.whole or other.whole)


@dataclass(slots=True)
class TouchedDevice:
    """All notes of one device."""

    received_at: datetime | None = None
    span: Span | None = None
    """Of readings, where there were any."""
    sensors: dict[int, Span] = field(default_factory=dict)
    all_sensors: bool = False


def by_device(notes: Iterable[Note]) -> dict[int, TouchedDevice]:
    """In the order of the devices' ids."""
    devices: dict[int, TouchedDevice] = {}
    for note in notes:
        device = devices.setdefault(note.device, TouchedDevice())
        received = [at for at in (device.received_at, note.received_at) if at is not None]
        device.received_at = max(received, default=None)
        if note.whole or (note.since is not None and note.upto is not None):
            _touch(device, note, Span(note.since or 0, note.upto or 0, note.whole))
    return dict(sorted(devices.items()))


def _touch(device: TouchedDevice, note: Note, span: Span) -> None:
    device.span = span if device.span is None else device.span.plus(span)
    device.all_sensors |= not note.sensors
    for sensor in note.sensors:
        before = device.sensors.get(sensor)
        device.sensors[sensor] = span if before is None else before.plus(span)
