"""Keeps the outbox within its bounds while measures are sent: age, size on the disk, a disk that fills."""

from metering_gateway.clock import GatewayClock
from metering_gateway.notices import Notice, Notify
from metering_gateway.outbox import Outbox

UPKEEP_SECONDS = 60.0  # between two looks at the disk and the limits
_REPORT_AGAIN_SECONDS = 3_600.0
_DROPPED = "dropped_measures"


class Upkeep:
    """Reports what it finds, the same thing at most once an hour."""

    def __init__(self, outbox: Outbox, clock: GatewayClock, notify: Notify, disk_low_bytes: int) -> None:
        self._outbox = outbox
        self._clock = clock
        self._notify = notify
        self._disk_low_bytes = disk_low_bytes
        self._due = clock.steady_seconds()
        self._reported: dict[str, float] = {}
        self._dropped = outbox.figure(_DROPPED)

    def run_if_due(self) -> None:
        if self._clock.steady_seconds() >= self._due:
            self.run()

    def run(self) -> None:
        """Drops what is too old, and looks at the disk. Without the platform's time nothing counts as too old."""
        self._due = self._clock.steady_seconds() + UPKEEP_SECONDS
        if self._clock.offset is not None:
            self._outbox.drop_too_old(self._clock.now_ms() // 1000)
        dropped = self._outbox.figure(_DROPPED)
        if dropped > self._dropped and self._report(
            "dropped", f"{dropped - self._dropped} measures dropped: the limit"
        ):
            self._dropped = dropped
        self._outbox.hold_reserve()
        free = self._outbox.free_bytes()
        if free < self._disk_low_bytes:
            self._report("disk", f"the disk of the outbox is nearly full: {free >> 20} MiB free")

    def give_back(self) -> None:
        """Gives the space of what was sent back to the disk, some of it at a time."""
        self._outbox.give_back()

    def _report(self, kind: str, text: str) -> bool:
        now = self._clock.steady_seconds()
        if now < self._reported.get(kind, now):
            return False
        self._reported[kind] = now + _REPORT_AGAIN_SECONDS
        self._notify(Notice("disk" if kind == "disk" else "dropped", text))
        return True
