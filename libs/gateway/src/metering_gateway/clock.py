"""The gateway's sense of the platform's time: its own steady clock plus the measured offset."""

import time
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from metering_gateway.domain.server_clock import Offset

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LocalTime(Protocol):
    """The clocks of the machine that the gateway runs on."""

    def wall_ms(self) -> int:
        """Unix milliseconds, perhaps wrong, perhaps set while we run."""

    def steady_seconds(self) -> float:
        """Seconds since the machine's boot, which nobody sets."""

    def boot(self) -> str:
        """Names that boot."""


class SystemTime:
    """The machine's own; its steady clock goes on while the machine sleeps."""

    def __init__(self) -> None:
        self._process = str(uuid4())

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def steady_seconds(self) -> float:
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def boot(self) -> str:
        try:
            return _BOOT_ID.read_text().strip()
        except OSError:  # no Linux: then each process is a boot of its own
            return self._process


class GatewayClock:
    """Counts from the wall clock's reading at the start by the steady clock: a wall clock that is set meanwhile
    (by NTP, by hand) moves no measure. The offset is measured again by each process, never kept: what was true of a
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

    def boot(self) -> str:
        return self._local.boot()

    def steady_ms(self) -> int:
        return round(self._local.steady_seconds() * 1000)

    def wall_ms(self) -> int:
        """What the wall clock says now, even if it was set meanwhile."""
        return self._local.wall_ms()

    def now_ms(self) -> int:
        """Unix milliseconds by the platform's clock as far as it is known."""
        return self.local_ms() + (self.offset.offset_ms if self.offset else 0)
