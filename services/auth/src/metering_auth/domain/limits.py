"""Who pays for an attempt at a token endpoint: a token that proves itself pays for itself, else its address pays.

A token that auth has signed is counted by itself and, once it is known, by its gateway. Everything else is counted by
the address it came from, and only if it fails: so many gateways may share an address (NAT, an ingress that hides
addresses), and a noisy neighbour's junk never refuses their good tokens.
"""

from ipaddress import IPv6Address, ip_address
from typing import Literal

from metering_common.http.token_buckets import Key, Rate, TokenBuckets

SITE_BITS = 64  # of an IPv6 address say whose it is; within them everybody has as many addresses as he likes
MAX_BUCKETS = 100_000  # of each kind, about 25 MB

Payer = Literal["address", "gateway", "token"]


class TooManyAttemptsError(Exception):
    """Above a limit: nothing was changed."""

    def __init__(self, payer: Payer, rate: Rate, retry_after_seconds: int) -> None:
        super().__init__(f"too many attempts of one {payer}")
        self.payer = payer
        self.rate = rate
        self.retry_after_seconds = retry_after_seconds


def whose(address: str) -> str:
    """Returns what the attempts of an address are counted under: itself, or an IPv6 address's network."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    return str(IPv6Address(int(parsed) >> SITE_BITS << SITE_BITS))


def per_minute(attempts: int) -> Rate:
    """Returns the rate of so many attempts a minute, and as many at once."""
    return Rate(attempts / 60, attempts)


class AttemptLimits:
    """The attempts at this process; restarting it forgets them. `now` is monotonic seconds.

    Each method raises `TooManyAttemptsError` where nothing is left.
    """

    def __init__(self, failures_per_address: Rate, per_gateway: Rate, max_buckets: int = MAX_BUCKETS) -> None:
        self._addresses = TokenBuckets[str](failures_per_address, max_buckets)
        self._gateways = TokenBuckets[int](per_gateway, max_buckets)
        self._tokens = TokenBuckets[bytes](per_gateway, max_buckets)

    def check_address(self, address: str, now: float) -> None:
        """Counts nothing: before work that an address pays for if it fails."""
        _check("address", self._addresses, whose(address), now)

    def count_failure(self, address: str, now: float) -> None:
        """What failed is paid for by its address."""
        self.check_address(address, now)
        self._addresses.take(whose(address), now)

    def count_token(self, fingerprint: bytes, now: float) -> None:
        """One attempt with a token that auth has signed, known or not."""
        _check("token", self._tokens, fingerprint, now)
        self._tokens.take(fingerprint, now)

    def count_gateway(self, gateway: int, now: float) -> None:
        """One attempt with a known token of the gateway."""
        _check("gateway", self._gateways, gateway, now)
        self._gateways.take(gateway, now)


def _check(payer: Payer, buckets: TokenBuckets[Key], key: Key, now: float) -> None:
    if seconds := buckets.seconds_to_wait(key, now):
        raise TooManyAttemptsError(payer, buckets.rate, seconds)
