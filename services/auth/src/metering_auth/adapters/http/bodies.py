"""What a request brings: its body, capped and in time, and the address that pays for what fails."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

from metering_auth.domain.limits import AttemptLimits
from metering_common.http.bodies import Body, BodyLimits
from metering_common.http.problems import Problem

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


@dataclass(frozen=True)
class Intake:
    """How much is taken, how long is waited for it, whose word on addresses is trusted, and what failures cost."""

    limits: BodyLimits
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    attempts: AttemptLimits
    monotonic: Callable[[], float]

    async def body(self, request: web.Request, content_type: str) -> bytes:
        """Returns the whole body; raises a `Problem` (413, 415, 408)."""
        if request.content_type != content_type:
            raise Problem(415, "unsupported_media_type", f"the body must be {content_type}")
        return await Body(request, self.limits).read()

    @contextmanager
    def reading(self, request: web.Request) -> Iterator[None]:
        """Whatever ends the reading of a request is a failed attempt of its address.

        Raises `TooManyAttemptsError` instead, where that has made too many.
        """
        try:
            yield
        except Exception:
            self.attempts.count_failure(self.address(request), self.monotonic())
            raise

    def address(self, request: web.Request) -> str:
        """The client's address: the last one in X-Forwarded-For that is no proxy of ours, if a proxy of ours asks.

        What is no address there ends the search: nobody writes text of his own into our logs and audit.
        """
        hops = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        address = _parsed(request.remote or "")
        for hop in map(_parsed, reversed(hops)):
            if hop is None or not self._is_trusted(address):
                break
            address = hop
        return "unknown" if address is None else str(address)

    def _is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self.trusted_proxies)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """IPv4 in IPv6's clothes is IPv4."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
