"""How many attempts to refresh one address or one gateway may make: token buckets, bounded in number."""

import math
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

SITE_BITS = 64  # of an IPv6 address say whose it is; within them everybody has as many addresses as he likes
MAX_BUCKETS = 100_000  # about 20 MB; the ones longest unused are forgotten first


@dataclass(frozen=True)
class Rate:
    """So many attempts a minute, and as many at once."""

    per_minute: int


def whose(address: str) -> str:
    """What the attempts of an address are counted under: itself, or an IPv6 address's network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(IPv6Address(int(parsed) >> SITE_BITS << SITE_BITS))


class AttemptLimit:
    """The attempts of each key (an address, a gateway) at this process; restarting it forgets them."""

    def __init__(self, rate: Rate, max_buckets: int = MAX_BUCKETS) -> None:
        self._rate = rate
        self._max_buckets = max_buckets
        self._buckets: OrderedDict[str | int, tuple[float, float]] = OrderedDict()

    def seconds_to_wait(self, key: str | int, now: float) -> int:
        """0 and the attempt is counted; else whole seconds until one is allowed. `now` is monotonic, in seconds."""
        level, since = self._buckets.pop(key, (float(self._rate.per_minute), now))
        per_second = self._rate.per_minute / 60
        level = min(self._rate.per_minute, level + max(0.0, now - since) * per_second)
        allowed = level >= 1
        self._buckets[key] = (level - 1 if allowed else level, now)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)
        return 0 if allowed else max(1, math.ceil((1 - level) / per_second))
