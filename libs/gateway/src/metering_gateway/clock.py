"""The gateway's sense of the platform's time: its own steady clock plus the measured offset."""

import time
from typing import Protocol

from metering_gateway.domain.server_clock import Offset


class LocalTime(Protocol):
    """The clocks of the machine that the gateway runs on."""

    def wall_ms(self) -> int:
        """Unix milliseconds, perhaps wrong, perhaps set while we run."""

    def steady_seconds(self) -> float:
        """Seconds since some fixed moment, which nobody sets."""


class SystemTime:
    """The machine's own; its steady clock goes on while the machine sleeps."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_seconds(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class GatewayClock:
    """Counts from the wall clock's reading at the start by the steady clock: a wall clock that is set meanwhile
    (by NTP, by hand) moves no measure. The offset is measured anew by each process, never kept: what was true of a
    clock before a reboot is not true after it.
    """

    def __init__(self, local: LocalTime) -> None:
        self._local = local
        self._start_ms = local.wall_ms() - round(local.steady_seconds() * 1000)
        self.offset: Offset | None = None

    def local_ms(self) -> int:
        """Unix milliseconds by this gateway's own clock."""
        return self._start_ms + round(self._local.steady_seconds() * 1000)

    def steady_seconds(self) -> float:
        return self._local.steady_seconds()

    def now_ms(self) -> int:
        """Unix milliseconds by the platform's clock as far as it is known."""
        return self.local_ms() + (self.offset.offset_ms if self.offset else 0)
