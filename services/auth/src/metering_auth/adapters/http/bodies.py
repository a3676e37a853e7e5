"""What a request brings: its body, capped and in time, and the address it comes from."""

import asyncio
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from aiohttp import web

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"


class BodyError(Exception):
    """The body is not taken; the status is the answer's."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Intake:
    """How much is taken, how long is waited for it, and whose word on addresses is trusted."""

    max_body_bytes: int
    body_seconds: float
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]

    async def body(self, request: web.Request, content_type: str) -> bytes:
        """The whole body; raises `BodyError` (413, 415, 408)."""
        if request.content_type != content_type:
            raise BodyError(415, f"the body must be {content_type}")
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise BodyError(415, "the body must not be compressed")
        if (request.content_length or 0) > self.max_body_bytes:
            raise BodyError(413, f"the body may have {self.max_body_bytes} bytes")
        try:
            async with asyncio.timeout(self.body_seconds):
                return await self._read(request)
        except TimeoutError:
            raise BodyError(408, f"the body did not arrive within {self.body_seconds:g} s") from None

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

    async def _read(self, request: web.Request) -> bytes:
        body = bytearray()
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > self.max_body_bytes:
                raise BodyError(413, f"the body may have {self.max_body_bytes} bytes")
        return bytes(body)

    def _is_trusted(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self.trusted_proxies)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """IPv4 in IPv6's clothes is IPv4."""
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
