"""A request's body, read and inflated in bounded steps: both sizes are capped while reading, not after."""

import asyncio
import zlib
from typing import NamedTuple

from aiohttp import HttpVersion11, StreamReader, web

from metering_ingest_api.domain.in_flight import Share
from metering_ingest_api.domain.problems import Problem

GZIP = 16 + zlib.MAX_WBITS
STEP_BYTES = 65_536


class BodyLimits(NamedTuple):
    """`max_bytes` of JSON, `max_wire_bytes` as compressed on the wire, `seconds` until the last byte."""

    max_bytes: int
    max_wire_bytes: int
    seconds: float


async def read_body(request: web.BaseRequest, limits: BodyLimits, share: Share) -> bytes:
    """The body, inflated; raises 400, 408, 413, 415 or 503 as a `Problem`."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    sink = _sink(encoding, limits, share)
    if (length := request.content_length) is not None and length > sink.max_wire_bytes:
        raise _too_large("on the wire", sink.max_wire_bytes)
    await _go_on(request)
    if request.content.is_eof():
        sink.take(request.content.read_nowait())
        return sink.end()
    try:
        async with asyncio.timeout(limits.seconds):
            await _pour(request.content, sink)
    except TimeoutError:
        raise Problem(
            408, "body_too_slow", f"the body did not come within {limits.seconds:g} s", headers={"Connection": "close"}
        ) from None
    return sink.end()


async def _go_on(request: web.BaseRequest) -> None:
    """A client that asks first (RFC 9110, section 10.1.1) is told now that nothing else speaks against its request."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _pour(content: StreamReader, sink: "_Plain | _Gzip") -> None:
    while chunk := await content.readany():
        sink.take(chunk)


def _sink(encoding: str, limits: BodyLimits, share: Share) -> "_Plain | _Gzip":
    match encoding:
        case "identity" | "":
            return _Plain(limits.max_bytes, share)
        case "gzip" | "x-gzip":
            return _Gzip(limits, share)
    raise Problem(
        415,
        "unsupported_content_encoding",
        "Content-Encoding gzip and identity are taken",
        headers={"Accept-Encoding": "gzip, identity"},
    )


class _Plain:
    """As it comes."""

    def __init__(self, max_bytes: int, share: Share) -> None:
        self.max_wire_bytes = max_bytes
        self._share = share
        self._chunks: list[bytes] = []
        self._size = 0

    def take(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self.max_wire_bytes:
            raise _too_large("on the wire", self.max_wire_bytes)
        self._share.hold(len(chunk))
        self._chunks.append(chunk)

    def end(self) -> bytes:
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class _Gzip:
    """Inflated as it comes, never more than a step beyond the cap. Several members in a row are one body."""

    def __init__(self, limits: BodyLimits, share: Share) -> None:
        self.max_wire_bytes = limits.max_wire_bytes
        self._max_bytes = limits.max_bytes
        self._share = share
        self._inflater = zlib.decompressobj(GZIP)
        self._chunks: list[bytes] = []
        self._wire = self._size = 0

    def take(self, chunk: bytes) -> None:
        self._wire += len(chunk)
        if self._wire > self.max_wire_bytes:
            raise _too_large("on the wire", self.max_wire_bytes)
        try:
            self._inflate(chunk)
        except zlib.error as error:
            raise Problem(400, "malformed_gzip", f"the body is not gzip: {error}") from error

    def _inflate(self, data: bytes) -> None:
        while data:
            if self._inflater.eof:
                self._inflater = zlib.decompressobj(GZIP)
            self._keep(self._inflater.decompress(data, STEP_BYTES))
            data = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail

    def _keep(self, inflated: bytes) -> None:
        self._size += len(inflated)
        if self._size > self._max_bytes:
            raise _too_large("inflated", self._max_bytes)
        self._share.hold(len(inflated))
        self._chunks.append(inflated)

    def end(self) -> bytes:
        if not self._inflater.eof:
            raise Problem(400, "malformed_gzip", "the compressed body ends too early")
        return b"".join(self._chunks)


def _too_large(where: str, limit: int) -> Problem:
    return Problem(413, "body_too_large", f"the body is larger than {limit} bytes {where}")
