"""A noisy gateway never hurts the others: each has token buckets in requests, bytes and values, per pod."""

from typing import NamedTuple

from metering_common.http.problems import Problem, too_many
from metering_common.http.token_buckets import Rate, TokenBuckets

GATEWAYS = 50_000
"""At most so many are remembered of each kind, about 300 bytes each."""


class Rates(NamedTuple):
    """What a gateway may send to one pod."""

    requests: Rate
    size: Rate
    values: Rate


class GatewayRates:
    """The buckets of all gateways. `now` is monotonic seconds."""

    def __init__(self, rates: Rates, capacity: int = GATEWAYS) -> None:
        self._requests = TokenBuckets[int](rates.requests, capacity)
        self._bytes = TokenBuckets[int](rates.size, capacity)
        self._values = TokenBuckets[int](rates.values, capacity)

    def take_request(self, gateway: int, now: float) -> None:
        """Raises a 429 `Problem` that names the limit; a request is not begun while bytes or values are overdrawn."""
        _check("bytes", self._bytes, gateway, now)
        _check("values", self._values, gateway, now)
        _check("requests", self._requests, gateway, now)
        self._requests.take(gateway, now)

    def charge_bytes(self, gateway: int, size: int, now: float) -> None:
        """Charges what has come. The bucket may be overdrawn by what may be in flight, and must recover."""
        self._bytes.take(gateway, now, size)

    def take_bytes(self, gateway: int, size: int, now: float) -> None:
        """Charges for work that has not begun; raises a 429 `Problem` when the bytes are overdrawn already."""
        _check("bytes", self._bytes, gateway, now)
        self._bytes.take(gateway, now, size)

    def take_values(self, gateway: int, count: int, now: float) -> None:
        """Raises a 429 `Problem` when the values are overdrawn already; these may overdraw them."""
        _check("values", self._values, gateway, now)
        self._values.take(gateway, now, count)


def _check(unit: str, buckets: TokenBuckets[int], gateway: int, now: float) -> None:
    """One token must be there: what comes may be more than ever gathers."""
    if seconds := buckets.seconds_to_wait(gateway, now):
        raise _over(unit, buckets.rate, seconds)


def _over(unit: str, rate: Rate, seconds: int) -> Problem:
    return too_many(
        f"rate_{unit}",
        f"this gateway is over its {rate.per_second:g} {unit} a second in this pod",
        seconds,
        {"unit": unit, "perSecond": rate.per_second, "burst": rate.burst, "scope": "gateway, per pod"},
    )
