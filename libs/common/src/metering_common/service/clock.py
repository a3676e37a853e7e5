"""The time as an argument: ingest-api stamps received-at with it, every deadline is counted by it."""

import time
from typing import Protocol


class Clock(Protocol):
    """What a part asks the time of."""

    def now_ms(self) -> int:
        """Unix milliseconds; may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock for tests: it moves only when told to."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._monotonic = 0.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1_000)
        self._monotonic += seconds
