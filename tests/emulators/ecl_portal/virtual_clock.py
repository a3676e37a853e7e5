"""The emulator's time: it stands still, runs, runs faster, or jumps, as the control endpoint sets it."""

import time


class VirtualClock:
    """Virtual Unix milliseconds: a start, plus the real time since then, `rate` times as fast (0 stands still)."""

    def __init__(self, start_ms: int | None = None, rate: float = 1.0) -> None:
        self._base_ms = time.time_ns() // 1_000_000 if start_ms is None else start_ms
        self._rate = rate
        self._since = time.monotonic()

    def now_ms(self) -> int:
        return self._base_ms + round((time.monotonic() - self._since) * self._rate * 1_000)

    def set(self, now_ms: int | None = None, rate: float | None = None) -> None:
        self._base_ms = self.now_ms() if now_ms is None else now_ms
        self._since = time.monotonic()
        self._rate = self._rate if rate is None else rate

    def advance(self, seconds: float) -> None:
        self.set(self.now_ms() + round(seconds * 1_000))
