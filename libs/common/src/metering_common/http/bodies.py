"""A request's body, read and inflated in bounded steps: sizes are capped and charged while it comes, not after."""

import asyncio
import zlib
from typing import NamedTuple, Protocol

from aiohttp import StreamReader, web

from metering_common.http.problems import Problem

MAX_GZIP_MEMBERS = 16
"""In one body (RFC 1952, section 2.2). An empty one takes 20 bytes, and as long as some kilobytes of JSON."""
COMPRESSED_BYTE_PRICE = 8
"""A deflate block without content takes 11 bytes, and as long as some hundred bytes of JSON that are inflated."""
_GZIP = 16 + zlib.MAX_WBITS
_CHUNK_BYTES = 64
"""What a piece of a body takes beside its bytes: a body that comes byte by byte is many pieces."""
_WIRE_STEP_BYTES = 4_096
"""So much is inflated before the loop turns."""
_STEP_BYTES = 65_536


class Pace(NamedTuple):
    """How slowly a body may come: as it likes at first, then at an average of so much, never longer than `seconds`."""

    free_seconds: float
    bytes_per_second: float
    max_seconds: float

    def seconds(self, received: int) -> float:
        """Returns until when, from the first moment on, more must have come than so many bytes."""
        return min(self.max_seconds, max(self.free_seconds, received / self.bytes_per_second))


class BodyLimits(NamedTuple):
    """`max_bytes` of content; `max_wire_bytes` where it comes compressed, 0 where that is not taken."""

    max_bytes: int
    max_wire_bytes: int
    pace: Pace


class Account(Protocol):
    """Who pays for a body while it comes."""

    def charge(self, size: int) -> None:
        """Bytes that came: as compressed, each `COMPRESSED_BYTE_PRICE`, or as inflated, whichever is more."""

    def hold(self, size: int) -> None:
        """Memory that is taken until the request ends; raises a `Problem` if it is too much."""


class Body:
    """A body that has not been read. Raises 413 or 415 at once if its headers say enough."""

    def __init__(self, request: web.BaseRequest, limits: BodyLimits, account: Account | None = None) -> None:
        self._content = request.content
        self._pace = limits.pace
        self._sink = _sink(request.headers.get("Content-Encoding", "identity"), limits, _Charges(account))
        if (request.content_length or 0) > self._sink.max_wire_bytes:
            raise _too_large("on the wire", self._sink.max_wire_bytes)

    async def read(self) -> bytes:
        """Returns the body, inflated; raises 400, 408, 413 or what the account raises, as a `Problem`."""
        if self._content.is_eof():
            await self._sink.take(self._content.read_nowait())
            return self._sink.end()
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(started + self._pace.seconds(0)) as deadline:
                await self._pour(started, deadline)
        except TimeoutError:
            raise self._too_slow() from None
        return self._sink.end()

    async def _pour(self, started: float, deadline: asyncio.Timeout) -> None:
        content: StreamReader = self._content
        while chunk := await content.readany():
            await self._sink.take(chunk)
            deadline.reschedule(started + self._pace.seconds(self._sink.wire_bytes))

    def _too_slow(self) -> Problem:
        free, rate, most = self._pace
        detail = (
            f"after {free:g} s a body must have come at {rate:g} bytes a second, and all of it after {most:g} s"
            if most > free
            else f"the body did not come within {free:g} s"
        )
        return Problem(408, "body_too_slow", detail, headers={"Connection": "close"})


class _Charges:
    """Charges what the larger of two counts grows by."""

    def __init__(self, account: Account | None) -> None:
        self._account = account
        self._charged = 0

    def charge_up_to(self, size: int) -> None:
        if self._account is not None and size > self._charged:
            self._account.charge(size - self._charged)
            self._charged = size

    def hold(self, chunk: bytes) -> None:
        if self._account is not None:
            self._account.hold(len(chunk) + _CHUNK_BYTES)


def _sink(encoding: str, limits: BodyLimits, charges: _Charges) -> "_Plain | _Gzip":
    match encoding.strip().lower():
        case "identity" | "":
            return _Plain(limits.max_bytes, charges)
        case "gzip" | "x-gzip" if limits.max_wire_bytes:
            return _Gzip(limits, charges)
    taken = "gzip, identity" if limits.max_wire_bytes else "identity"
    detail = f"of Content-Encoding, {taken} is taken"
    raise Problem(415, "unsupported_content_encoding", detail, headers={"Accept-Encoding": taken})


class _Plain:
    """As it comes."""

    def __init__(self, max_bytes: int, charges: _Charges) -> None:
        self.max_wire_bytes = max_bytes
        self.wire_bytes = 0
        self._charges = charges
        self._chunks: list[bytes] = []

    async def take(self, chunk: bytes) -> None:
        self.wire_bytes += len(chunk)
        self._charges.charge_up_to(self.wire_bytes)
        if self.wire_bytes > self.max_wire_bytes:
            raise _too_large("on the wire", self.max_wire_bytes)
        self._charges.hold(chunk)
        self._chunks.append(chunk)

    def end(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class _Gzip:
    """Inflated as it comes, never more than a step beyond the cap. Several members in a row are one body."""

    def __init__(self, limits: BodyLimits, charges: _Charges) -> None:
        self.max_wire_bytes = limits.max_wire_bytes
        self.wire_bytes = 0
        self._max_bytes = limits.max_bytes
        self._charges = charges
        self._inflater = zlib.decompressobj(_GZIP)
        self._members = 1
        self._chunks: list[bytes] = []
        self._size = 0

    async def take(self, chunk: bytes) -> None:
        """The loop turns between two steps, so that no body holds up the others for long."""
        self._take_step(chunk[:_WIRE_STEP_BYTES])
        for start in range(_WIRE_STEP_BYTES, len(chunk), _WIRE_STEP_BYTES):
            await asyncio.sleep(0)
            self._take_step(chunk[start : start + _WIRE_STEP_BYTES])

    def end(self) -> bytes:
        if not self._inflater.eof:
            raise Problem(400, "malformed_gzip", "the compressed body ends too early")
        return b"".join(self._chunks)

    def _take_step(self, data: bytes) -> None:
        self.wire_bytes += len(data)
        self._charges.charge_up_to(self.wire_bytes * COMPRESSED_BYTE_PRICE)
        if self.wire_bytes > self.max_wire_bytes:
            raise _too_large("on the wire", self.max_wire_bytes)
        try:
            self._inflate(data)
        except zlib.error as error:
            raise Problem(400, "malformed_gzip", f"the body is not gzip: {error}") from error

    def _inflate(self, data: bytes) -> None:
        while data:
            if self._inflater.eof:
                self._begin_member()
            self._keep(self._inflater.decompress(data, _STEP_BYTES))
            data = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > MAX_GZIP_MEMBERS:
            raise Problem(400, "malformed_gzip", f"the body has more than {MAX_GZIP_MEMBERS} gzip members")
        self._inflater = zlib.decompressobj(_GZIP)

    def _keep(self, inflated: bytes) -> None:
        self._size += len(inflated)
        self._charges.charge_up_to(self._size)
        if self._size > self._max_bytes:
            raise _too_large("inflated", self._max_bytes)
        self._charges.hold(inflated)
        self._chunks.append(inflated)


def _too_large(where: str, limit: int) -> Problem:
    return Problem(413, "body_too_large", f"the body is larger than {limit} bytes {where}")
