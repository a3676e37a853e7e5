"""What is known of a register and what is said about its readings: the terms of docs/consumption.md."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MICROSECONDS = 1_000_000
"""Of a second: times are whole microseconds since 1970, as PostgreSQL keeps them."""
HOUR = 3_600 * MICROSECONDS
ROUNDING = 1e-9
"""Of a reading: what a sum of decimal fractions may be off in binary ones."""
FOLLOWERS = 3
"""So many readings must follow before a trial is decided for good."""
TOLERANCE_SHARE = 0.001
"""Of the base: what a fall may be for jitter where no resolution is known."""
SMALL_SHARE = 0.1
"""Of the base or the capacity: a restart or a roll-over may count so much where no rate is known."""
STORED_STEP = HOUR
"""Steps of this length and more are stored: the readings of a slow register lie far apart in the table's key."""
LONG_INTERVALS = 1.5
"""A step longer than so many intervals is estimated."""


class EventKind(StrEnum):
    """What lies between two readings that are not simply one after the other."""

    EXCHANGE = "exchange"
    JITTER = "jitter"
    ROLL_OVER = "roll-over"
    DIP = "dip"
    SPIKE = "spike"
    RESET = "reset"
    JUMP = "jump"
    GAP = "gap"
    """A long step: nothing is adjusted. What lies in it is estimated if it is longer than 1.5 intervals."""


class Exchange(NamedTuple):
    """The meter was exchanged at this time: a reading at this very time is the old meter's."""

    at: int
    closing: float | None = None
    """The old meter's last reading."""
    opening: float | None = None
    """The new meter's first one."""


@dataclass(frozen=True, slots=True)
class RegisterRules:
    """What the registry knows of one register."""

    net: bool = False
    """The register may run both ways: only exchanges and `maximum_rate` say anything of it."""
    capacity: float | None = None
    resolution: float | None = None
    maximum_rate: float | None = None
    """The most that it can count in an hour."""
    interval_seconds: int | None = None
    exchanges: tuple[Exchange, ...] = ()

    def tolerance(self, base: float) -> float:
        return 2 * self.resolution if self.resolution is not None else TOLERANCE_SHARE * abs(base)

    def allowed_step(self, elapsed: int) -> float:
        """For this many microseconds; infinite where no rate is known."""
        if self.maximum_rate is None:
            return float("inf")
        return self.maximum_rate * elapsed / HOUR + (self.resolution or 0.0)

    @property
    def long_step(self) -> float:
        """Microseconds beyond which a step is estimated; infinite where no interval is known."""
        return LONG_INTERVALS * self.interval_seconds * MICROSECONDS if self.interval_seconds else float("inf")


@dataclass(frozen=True, slots=True)
class Readings:
    """A register's readings in order of time, one entry each in both columns; none is a sensor's fault (quality 3)."""

    at: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.at)

    def part(self, start: int, end: int) -> "Readings":
        return Readings(self.at[start:end], self.value[start:end])


class Event(NamedTuple):
    """A span of time in which the register runs straight from `start` to `start + step`, whatever was read inside it.

    Spans of one register touch, but never overlap. Outside of them the adjusted register is the reading plus the
    `offset` of the last event before it.
    """

    kind: EventKind
    since: int
    upto: int
    before: float | None
    """The reading at `since`; None where an exchange has none."""
    after: float | None
    """The reading at `upto`, as `before`."""
    start: float
    """The adjusted register at `since`."""
    step: float
    """What the register counted from `since` to `upto`."""
    offset: float
    """What is added to the readings after `upto`."""
    estimated: bool
    provisional: bool
