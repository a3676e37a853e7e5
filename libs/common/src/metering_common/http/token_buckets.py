"""Token buckets by key, bounded in number: what is forgotten is the fullest one, so that a noisy key stays known."""

import math
from heapq import heappop, heappush, heapreplace
from typing import Generic, NamedTuple, TypeVar

Key = TypeVar("Key", int, str, bytes)


_ROUNDING = 1e-6  # of sums of floating-point numbers


class Rate(NamedTuple):
    """Tokens per second, and how many gather while a key is quiet."""

    per_second: float
    burst: float


class TokenBuckets(Generic[Key]):
    """One bucket per key, full at first. `now` is monotonic seconds; a clock that goes back gives nothing.

    A bucket is the one moment at which it will be full again: no refilling has to be done. Where another one would be
    one too many, the bucket that is full first goes; one that is full already is no loss.
    """

    def __init__(self, rate: Rate, capacity: int) -> None:
        self.rate = rate
        self._capacity = capacity
        self._now = -math.inf
        self._full_at: dict[Key, float] = {}
        self._by_full_at: list[tuple[float, Key]] = []
        """A heap. A time in it may be an earlier one than the bucket's."""

    def __len__(self) -> int:
        return len(self._full_at)

    def seconds_to_wait(self, key: Key, now: float, amount: float = 1) -> int:
        """Returns 0 if the bucket holds so many tokens, else the whole seconds until it does, at least 1."""
        missing = amount - self._level(key, self._latest(now))
        return max(1, math.ceil(missing / self.rate.per_second - _ROUNDING)) if missing > _ROUNDING else 0

    def take(self, key: Key, now: float, amount: float = 1) -> None:
        """Takes so many tokens. The bucket may be overdrawn by it, and must recover."""
        latest = self._latest(now)
        known_full_at = self._full_at.get(key)
        full_at = max(latest, known_full_at or latest) + amount / self.rate.per_second
        if known_full_at is None:
            self._make_room()
            heappush(self._by_full_at, (full_at, key))
        self._full_at[key] = full_at

    def _level(self, key: Key, now: float) -> float:
        return self.rate.burst - max(0.0, self._full_at.get(key, now) - now) * self.rate.per_second

    def _latest(self, now: float) -> float:
        self._now = max(self._now, now)
        return self._now

    def _make_room(self) -> None:
        """A step for each bucket that was taken from since the heap saw it last: no more steps than takes."""
        while len(self._full_at) >= self._capacity:
            noted, key = self._by_full_at[0]
            if self._full_at[key] > noted:
                heapreplace(self._by_full_at, (self._full_at[key], key))
            else:
                heappop(self._by_full_at)
                del self._full_at[key]
