"""What is in flight stays bounded, in bytes and in requests, and no gateway holds more than a share of it.

A gateway may hold half of what the others leave free. So one alone takes half of the pod, each further one less, and
there is always room for one that holds nothing yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from metering_common.http.problems import Problem, too_many, unavailable

RETRY_AFTER_SECONDS = 1


class _Room:
    """One kind of room: how much of it there is, in use, and by whom."""

    def __init__(self, unit: str, capacity: int) -> None:
        self._unit = unit
        self._capacity = capacity
        self.used = 0
        self._by_gateway: dict[int, int] = {}

    def take(self, gateway: int, amount: int) -> None:
        """Raises a 429 `Problem` for a gateway over its share, a 503 where the others are in the way."""
        own = self._by_gateway.get(gateway, 0) + amount
        if own + self.used + amount > self._capacity:
            raise self._refusal(own)
        self.used += amount
        self._by_gateway[gateway] = own

    def give_back(self, gateway: int, amount: int) -> None:
        self.used -= amount
        left = self._by_gateway[gateway] - amount
        if left:
            self._by_gateway[gateway] = left
        else:
            del self._by_gateway[gateway]

    def _refusal(self, own: int) -> Problem:
        """Who would hold less than all others together is not the cause."""
        if own < self.used - own:
            detail = f"too many {self._unit} are in flight in this pod"
            return unavailable("overloaded", detail, RETRY_AFTER_SECONDS, f"{self._unit}_in_flight")
        limit: dict[str, Any] = {"unit": self._unit, "inFlight": self._capacity // 2, "scope": "gateway, per pod"}
        detail = f"this gateway has {self._unit} in flight up to its share of this pod: wait for their answers"
        return too_many("share_in_flight", detail, RETRY_AFTER_SECONDS, limit)


class InFlight:
    """The requests in work of one pod, and their bytes."""

    def __init__(self, max_bytes: int, max_requests: int) -> None:
        self._bytes = _Room("bytes", max_bytes)
        self._requests = _Room("requests", max_requests)

    @property
    def bytes(self) -> int:
        return self._bytes.used

    @property
    def requests(self) -> int:
        return self._requests.used

    def open(self, gateway: int) -> "Share":
        """Returns one request's part of it, to be let go at its end; raises a 429 or 503 `Problem`."""
        self._requests.take(gateway, 1)
        return Share(self._requests, self._bytes, gateway)


class Lookups:
    """One look-up of a result per gateway: each may read much of a topic, and there are few places for them."""

    def __init__(self) -> None:
        self._gateways: set[int] = set()

    @contextmanager
    def one(self, gateway: int) -> Iterator[None]:
        """Raises a 429 `Problem` while another one of the gateway is not answered."""
        if gateway in self._gateways:
            limit = {"unit": "lookups", "inFlight": 1, "scope": "gateway, per pod"}
            detail = "this gateway asks for another result just now: ask one after the other"
            raise too_many("share_in_flight", detail, RETRY_AFTER_SECONDS, limit)
        self._gateways.add(gateway)
        try:
            yield
        finally:
            self._gateways.discard(gateway)


class Share:
    """What one request holds."""

    __slots__ = ("_bytes", "_gateway", "_requests", "bytes")

    def __init__(self, requests: _Room, size: _Room, gateway: int) -> None:
        self._requests, self._bytes, self._gateway = requests, size, gateway
        self.bytes = 0

    def hold(self, size: int) -> None:
        """Raises a 429 or 503 `Problem` when there is no room."""
        self._bytes.take(self._gateway, size)
        self.bytes += size

    def let_go(self) -> None:
        """To be called once."""
        self._requests.give_back(self._gateway, 1)
        if self.bytes:
            self._bytes.give_back(self._gateway, self.bytes)
