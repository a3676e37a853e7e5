"""Hostile input, each kind against an ingest-api in its own process: the status, memory, a neighbour unharmed."""

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from typing import Any

import aiohttp
import pytest
from ingest_api_support import IngestApiProcess, make_token

MAX_GROWTH = 48 * 1024 * 1024
"""Of ingest-api's resident memory over one attack: several bodies' worth, far below any bomb's size."""
NEIGHBOUR_SECONDS = 2.0
"""How late a good request may be answered beside an attack, on a machine that runs other tests too."""
NEIGHBOUR_PAUSE_SECONDS = 0.01  # below its own rate limit, also on a quick machine
PATH = "/api/v1/measurements"
GOOD = b'[{"deviceNumber":"29","measures":[{"timestamp":1566226133,"sensorValues":[]}]}]'


class Reply:
    """What came back on a raw connection, until it was closed."""

    def __init__(self, data: bytes) -> None:
        self.head, _, self.body = data.partition(b"\r\n\r\n")
        self.status = int(self.head.split(b" ", 2)[1]) if data else 0
        self.answers = len(re.findall(rb"HTTP/1\.[01] \d", data))

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


def head(*lines: str, path: str = PATH, method: str = "POST") -> bytes:
    usual = ("Host: ingest_api", f"Authorization: Bearer {make_token()}", "Connection: close")
    return "\r\n".join((f"{method} {path} HTTP/1.1", *usual, *lines, "", "")).encode()


async def exchange(ingest_api: IngestApiProcess, *parts: bytes, pause: float = 0) -> Reply:
    """Sends the parts, and reads until ingest-api closes.

    What the parser refuses goes in one part: a reset for a second one may take the answer to the first away.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", ingest_api.port)
    reading = asyncio.create_task(reader.read(-1))
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
    with suppress(ConnectionError):
        try:
            return Reply(await asyncio.wait_for(reading, 20))
        finally:
            writer.close()
    return Reply(b"")


async def post(ingest_api: IngestApiProcess, body: bytes, *lines: str) -> Reply:
    return await exchange(ingest_api, head(f"Content-Length: {len(body)}", *lines), body)


@asynccontextmanager
async def unharmed(ingest_api: IngestApiProcess) -> AsyncIterator[None]:
    """While the attack runs a neighbour is served, and after it ingest-api has not grown."""
    await post(ingest_api, GOOD)
    before = ingest_api.resident_bytes
    over = asyncio.Event()
    neighbour = asyncio.create_task(neighbours_worst(ingest_api, over))
    yield
    over.set()
    assert await neighbour < NEIGHBOUR_SECONDS
    assert ingest_api.resident_bytes - before < MAX_GROWTH


async def neighbours_worst(ingest_api: IngestApiProcess, over: asyncio.Event) -> float:
    """Another gateway's good requests, one after the other: the slowest one's seconds."""
    worst, loop = 0.0, asyncio.get_running_loop()
    headers = {"Authorization": f"Bearer {make_token(gateway=3)}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        while True:
            started = loop.time()
            async with session.post(f"http://127.0.0.1:{ingest_api.port}{PATH}", data=GOOD) as response:
                assert response.status == 201, await response.text()
            worst = max(worst, loop.time() - started)
            if over.is_set():
                return worst
            await asyncio.sleep(NEIGHBOUR_PAUSE_SECONDS)


def with_values(values: bytes, number: bytes = b'"29"') -> bytes:
    return b'[{"deviceNumber":%s,"measures":[{"timestamp":1566226133,"sensorValues":%s}]}]' % (number, values)


def times(count: int, value: bytes) -> bytes:
    return b"[" + b",".join(repeat(value, count)) + b"]"


BODIES: dict[str, tuple[bytes, int, str]] = {
    "deep nesting": (with_values(b"[" * 17 + b"]" * 17), 400, "malformed_body"),
    "very deep nesting": (with_values(b'[{"a":' * 5_000 + b"1" + b"}]" * 5_000), 400, "malformed_body"),
    "1 MiB of [": (b"[" * 1_048_576, 400, "malformed_body"),
    "1 MiB of quotes": (b'"' * 1_048_576, 400, "malformed_body"),
    "a number of 401 digits": (with_values(b"[" + b"9" * 401 + b"]"), 400, "malformed_body"),
    "a number of a million digits": (with_values(b"[" + b"9" * 1_000_000 + b"]"), 400, "malformed_body"),
    "invalid UTF-8": (with_values(b'["\xc3\x28"]'), 400, "malformed_body"),
    "UTF-16": (GOOD.decode().encode("utf-16"), 400, "malformed_body"),
    "NUL": (with_values(b'["\x00"]'), 400, "malformed_body"),
    "NUL as the device": (with_values(b"[]", b'"\\u0000"'), 422, "devices_unknown"),
    "half a surrogate pair": (with_values(b'["\\ud800"]'), 400, "malformed_body"),
    "half a surrogate pair as the device": (with_values(b"[]", b'"\\udfff"'), 400, "malformed_body"),
    "100,000 empty elements": (b"[" + b",".join(repeat(b"{}", 100_000)) + b"]", 422, "wrong_shape"),
    "as many elements as fit": (b"[" + b",".join(repeat(GOOD[1:-1], 12_000)) + b"]", 422, "too_many_measures"),
    "100,000 elements": (b"[" + b",".join(repeat(GOOD[1:-1], 100_000)) + b"]", 413, "body_too_large"),
    "10,000 values of bare words": (with_values(times(10_000, b"NaN")), 201, ""),
    "10,001 values of bare words": (with_values(times(10_001, b"NaN")), 422, "too_many_values"),
    "100,000 values of bare words": (with_values(times(100_000, b"NaN")), 400, "malformed_body"),
    "half a million zeros": (with_values(times(524_000, b"0")), 422, "too_many_values"),
    "a wrong shape of a mebibyte": (b"[" + b",".join(repeat(b"[]", 349_000)) + b"]", 422, "wrong_shape"),
    "a body that is a zip": (b"PK\x03\x04" + bytes(1_000), 400, "malformed_body"),
    "duplicate keys": (b'[{"deviceNumber":"nobody","measures":[],' + GOOD[2:], 201, ""),
    "1e400": (with_values(b"[1e400]"), 201, ""),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_hostile_body(process: IngestApiProcess, name: str) -> None:
    body, status, code = BODIES[name]
    async with unharmed(process):
        reply = await post(process, body)
    assert (reply.status, reply.code if code else "") == (status, code)


DEFLATE_LENGTH_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
"""RFC 1951, section 3.2.7, up to the code length 1."""


def bomb(inflated: int) -> bytes:
    """So many zero bytes, compressed a thousand times."""
    deflate = zlib.compressobj(9, wbits=31)
    return b"".join(deflate.compress(bytes(1 << 20)) for _ in range(inflated >> 20)) + deflate.flush()


def blocks_without_content(count: int) -> bytes:
    """A gzip body of deflate blocks that define their codes and hold nothing: 11 bytes, and long to inflate."""
    lengths = "".join("100" if symbol in (18, 1) else "000" for symbol in DEFLATE_LENGTH_ORDER)
    codes = "1" + f"{138 - 11:07b}"[::-1] + "1" + f"{118 - 11:07b}"[::-1] + "0" + "0"
    block = "0" + "01" + "00000" + "00000" + f"{len(DEFLATE_LENGTH_ORDER) - 4:04b}"[::-1] + lengths + codes + "0"
    bits = block * count + "1" + "10" + "0000000"
    bits += "0" * (-len(bits) % 8)
    deflated = int(bits[::-1], 2).to_bytes(len(bits) // 8, "little")
    return b"\x1f\x8b\x08" + bytes(7) + deflated + bytes(8)


BOMBS: dict[str, tuple[bytes, int, str]] = {
    "1 MiB that inflate to 1 GiB": (bomb(1 << 30), 413, "body_too_large"),
    "as much as the wire takes": (bomb(500 << 20), 413, "body_too_large"),
    "a zip of a zip": (gzip.compress(gzip.compress(GOOD)), 400, "malformed_body"),
    "a zip of a bomb": (gzip.compress(bomb(400 << 20)), 400, "malformed_body"),
    "many empty members": (gzip.compress(b"") * 26_000, 400, "malformed_gzip"),
    "blocks without content": (blocks_without_content(40_000), 400, "malformed_body"),
    "broken off": (gzip.compress(GOOD)[:-9], 400, "malformed_gzip"),
    "no gzip": (GOOD, 400, "malformed_gzip"),
    "gzip and then rubbish": (gzip.compress(GOOD) + b"rubbish", 400, "malformed_gzip"),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_hostile_compression(process: IngestApiProcess, name: str) -> None:
    body, status, code = BOMBS[name]
    async with unharmed(process):
        reply = await post(process, body, "Content-Encoding: gzip")
    assert (reply.status, reply.code) == (status, code)


async def test_two_encodings_at_once_are_not_taken(process: IngestApiProcess) -> None:
    reply = await post(process, gzip.compress(gzip.compress(GOOD)), "Content-Encoding: gzip, gzip")
    assert (reply.status, reply.code) == (415, "unsupported_content_encoding")


async def test_chunks_without_end_are_cut_off_at_the_size(process: IngestApiProcess) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    async with unharmed(process):
        reply = await exchange(process, head("Transfer-Encoding: chunked"), *repeat(chunk, 200))
    assert (reply.status, reply.code) == (413, "body_too_large")


async def test_slow_chunks_without_end_are_cut_off_in_time(process: IngestApiProcess) -> None:
    async with unharmed(process):
        reply = await exchange(process, head("Transfer-Encoding: chunked"), *repeat(b"1\r\n \r\n", 30), pause=0.1)
    assert (reply.status, reply.code) == (408, "body_too_slow")


async def test_a_content_length_too_long_is_waited_for_no_longer_than_the_deadline(process: IngestApiProcess) -> None:
    async with unharmed(process):
        reply = await exchange(process, head(f"Content-Length: {len(GOOD) + 1}"), GOOD)
    assert (reply.status, reply.code) == (408, "body_too_slow")


async def test_a_content_length_too_short_cuts_the_body(process: IngestApiProcess) -> None:
    async with unharmed(process):
        reply = await exchange(process, head(f"Content-Length: {len(GOOD) - 1}") + GOOD)
    assert reply.status == 400  # the parser's: there is data after the last request
    assert reply.answers == 1


@pytest.mark.parametrize("length", ["-1", "1_0", "0x10", "abc", "9" * 40, "+5", ""])
async def test_a_content_length_that_is_no_number(process: IngestApiProcess, length: str) -> None:
    async with unharmed(process):
        reply = await exchange(process, head(f"Content-Length: {length}") + GOOD)
    assert reply.status in (400, 413)
    assert reply.answers == 1


SMUGGLED = b"GET /api/v1/spec HTTP/1.1\r\nHost: ingest_api\r\nConnection: close\r\n\r\n"
PAIRS: dict[str, tuple[str, ...]] = {
    "length and chunked": ("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunked and length": ("Transfer-Encoding: chunked", "Content-Length: 5"),
    "two lengths": ("Content-Length: 5", "Content-Length: 6"),
    "a list of lengths": ("Content-Length: 5, 6",),
    "chunked twice": ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunked, then another": ("Transfer-Encoding: chunked, identity",),
    "chunked with a space before the colon": ("Transfer-Encoding : chunked",),
    "an unknown transfer encoding": ("Transfer-Encoding: xchunked",),
    "a folded line": ("X: y", " Transfer-Encoding: chunked"),
    "a bare line feed": ("X: y\nTransfer-Encoding: chunked",),
}


@pytest.mark.parametrize("name", PAIRS)
async def test_a_smuggling_pair_is_refused_and_nothing_behind_it_is_answered(
    process: IngestApiProcess, name: str
) -> None:
    async with unharmed(process):
        reply = await exchange(
            process, head(*PAIRS[name]).replace(b"Connection: close\r\n", b"") + b"0\r\n\r\n" + SMUGGLED
        )
    assert reply.status == 400
    assert reply.answers == 1


async def test_one_header_of_10000_bytes_is_refused_below_the_application(process: IngestApiProcess) -> None:
    async with unharmed(process):
        reply = await exchange(process, head("X: " + "y" * 10_000, path="/api/v1/spec", method="GET"))
    assert reply.status == 400
    assert b"text/plain" in reply.head


async def test_many_headers_of_10000_bytes_in_all_do_no_harm(process: IngestApiProcess) -> None:
    async with unharmed(process):
        lines = [f"X-{number}: {'y' * 90}" for number in range(100)]
        reply = await exchange(process, head(*lines, path="/api/v1/spec", method="GET"))
    assert reply.status == 200


async def test_ten_thousand_headers_are_refused(process: IngestApiProcess) -> None:
    async with unharmed(process):
        reply = await exchange(process, head(*[f"X-{number}: y" for number in range(10_000)]))
    assert reply.status == 400


@pytest.mark.parametrize("line", ["GET", "GET / HTTP/9.9", "\x16\x03\x01", "PRI * HTTP/2.0", "GET /\x00 HTTP/1.1"])
async def test_a_request_line_that_is_no_http(process: IngestApiProcess, line: str) -> None:
    async with unharmed(process):
        reply = await exchange(process, f"{line}\r\n\r\n".encode())
    assert reply.status in (400, 0)


async def seconds_of(waiting: Awaitable[Any]) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    await waiting
    return loop.time() - started


async def test_a_head_that_comes_too_slowly_is_cut_off(process: IngestApiProcess) -> None:
    async with unharmed(process):
        assert await seconds_of(exchange(process, b"GET /api/v1/spec HTTP/1.1\r\n", *repeat(b"a", 30), pause=0.1)) < 5


async def test_a_silent_connection_is_cut_off(process: IngestApiProcess) -> None:
    assert await seconds_of(exchange(process)) < 3


async def test_an_idle_connection_lives_as_long_as_keep_alive_and_not_longer(process: IngestApiProcess) -> None:
    request = b"GET /api/v1/spec HTTP/1.1\r\nHost: ingest_api\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    for _ in range(2):
        writer.write(request)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        await asyncio.sleep(1.5)  # longer than a head may take
    assert await seconds_of(reader.read()) < 4
    writer.close()
