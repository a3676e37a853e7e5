"""A noisy gateway never hurts the others: each has a token bucket in requests and one in bytes, per pod."""

from typing import NamedTuple

from metering_ingest_api.domain.problems import RETRY_AFTER, Problem

GATEWAYS = 50_000
"""At most so many are remembered, about 200 bytes each; one that was idle long enough to be full again is no loss."""


class Rate(NamedTuple):
    """Tokens per second, and how many gather while a gateway is quiet."""

    per_second: float
    burst: float


class _Bucket:
    __slots__ = ("at", "level")

    def __init__(self, level: float, at: float) -> None:
        self.level, self.at = level, at

    def refill(self, rate: Rate, now: float) -> float:
        self.level = min(rate.burst, self.level + (now - self.at) * rate.per_second)
        self.at = now
        return self.level


class GatewayRates:
    """Two buckets per gateway. `now` is monotonic seconds."""

    def __init__(self, requests: Rate, size: Rate, capacity: int = GATEWAYS) -> None:
        self._requests, self._bytes, self._capacity = requests, size, capacity
        self._buckets: dict[int, tuple[_Bucket, _Bucket]] = {}

    def take_request(self, gateway: int, now: float) -> None:
        """Raises a 429 `Problem` that names the limit; a request is not begun while the bytes are overdrawn."""
        requests, size = self._buckets_of(gateway, now)
        if size.refill(self._bytes, now) <= 0:
            raise _over("rate_bytes", self._bytes, "bytes", 1 - size.level)
        if requests.refill(self._requests, now) < 1:
            raise _over("rate_requests", self._requests, "requests", 1 - requests.level)
        requests.level -= 1

    def take_bytes(self, gateway: int, size: int, now: float) -> None:
        """What a body inflates to is known only afterwards: the bucket may be overdrawn once, and must recover."""
        self._buckets_of(gateway, now)[1].level -= size

    def _buckets_of(self, gateway: int, now: float) -> tuple[_Bucket, _Bucket]:
        if (buckets := self._buckets.get(gateway)) is None:
            if len(self._buckets) >= self._capacity:
                del self._buckets[next(iter(self._buckets))]
            buckets = self._buckets[gateway] = _Bucket(self._requests.burst, now), _Bucket(self._bytes.burst, now)
        return buckets


def _over(code: str, rate: Rate, unit: str, missing: float) -> Problem:
    wait = max(1, -int(-missing // rate.per_second))
    return Problem(
        429,
        code,
        f"this gateway is over its {rate.per_second:g} {unit} a second in this pod",
        headers={RETRY_AFTER: str(wait)},
        extra={"limit": {"unit": unit, "perSecond": rate.per_second, "burst": rate.burst, "scope": "gateway, per pod"}},
    )
