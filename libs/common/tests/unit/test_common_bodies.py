"""Bodies as they are read: what they are charged, what memory they hold, how slow they may be, what is refused."""

import asyncio
import gzip
import zlib
from collections.abc import Iterable
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import StreamReader, web
from aiohttp.test_utils import make_mocked_request
from body_streams import stream

from metering_common.http.bodies import COMPRESSED_BYTE_PRICE, Body, BodyLimits, Pace
from metering_common.http.problems import Problem, too_many

pytestmark = pytest.mark.fast

PACE = Pace(30, 250, 600)
LIMITS = BodyLimits(1_048_576, 524_288, PACE)
TEXT = b'[{"deviceNumber":"29"}]' * 4_000


class Account:
    """Adds up; `room` is what memory may be held."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.charged = self.held = 0
        self._room = room

    def charge(self, size: int) -> None:
        assert size > 0
        self.charged += size

    def hold(self, size: int) -> None:
        self.held += size
        if self.held > self._room:
            raise too_many("share_in_flight", "too much", 1, {})


def request(content: StreamReader, **headers: str) -> web.Request:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request("POST", "/", headers=named, payload=content)


async def read(*chunks: bytes, account: Account | None = None, limits: BodyLimits = LIMITS, **headers: str) -> bytes:
    return await Body(request(stream(*chunks), **headers), limits, account).read()


async def refused(body: bytes, account: Account | None = None, limits: BodyLimits = LIMITS, **headers: str) -> Problem:
    with pytest.raises(Problem) as caught:
        await read(body, account=account, limits=limits, **headers)
    return caught.value


async def test_a_body_is_charged_and_held_as_it_is() -> None:
    account = Account()
    assert await read(TEXT, account=account) == TEXT
    assert account.charged == len(TEXT)
    assert len(TEXT) <= account.held <= len(TEXT) + 100


async def test_of_compressed_and_inflated_the_dearer_is_charged() -> None:
    account = Account()
    packed = gzip.compress(TEXT)
    assert await read(packed, account=account, Content_Encoding="gzip") == TEXT
    assert account.charged == len(TEXT)
    noise = bytes(zlib.crc32(bytes([number % 251, number % 241])) & 255 for number in range(60_000))
    account, packed = Account(), gzip.compress(noise)
    await read(packed, account=account, Content_Encoding="gzip")
    assert account.charged == len(packed) * COMPRESSED_BYTE_PRICE > len(noise)


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"x" * 1_048_577, {}, 413),
        (gzip.compress(bytes(2_000_000)), {"Content_Encoding": "gzip"}, 413),
        (gzip.compress(TEXT)[:-9], {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(b"") * 17, {"Content_Encoding": "gzip"}, 400),
        (TEXT, {"Content_Encoding": "gzip"}, 400),
    ],
    ids=["large", "bomb", "broken off", "members", "no gzip"],
)
async def test_what_is_refused_has_been_charged(body: bytes, headers: dict[str, Any], status: int) -> None:
    account = Account()
    assert (await refused(body, account=account, **headers)).status == status
    read_at_least = min(len(body), 4_096)
    assert account.charged >= (read_at_least * COMPRESSED_BYTE_PRICE if headers else len(body))


async def test_sixteen_gzip_members_are_one_body_and_more_are_refused_before_they_are_read() -> None:
    members = [gzip.compress(bytes([48 + number])) for number in range(10)] + [gzip.compress(b"")] * 6
    assert await read(b"".join(members), Content_Encoding="gzip") == b"0123456789"
    account = Account()
    problem = await refused(gzip.compress(b"") * 26_000, account=account, Content_Encoding="gzip")
    assert (problem.code, problem.detail) == ("malformed_gzip", "the body has more than 16 gzip members")
    assert account.charged == 4_096 * COMPRESSED_BYTE_PRICE


async def test_a_body_that_comes_byte_by_byte_holds_what_its_pieces_take() -> None:
    account = Account(room=50_000)
    problem = await trickle(account, pieces=2_000)
    assert problem is not None
    assert problem.code == "share_in_flight"


async def trickle(account: Account, pieces: int) -> Problem | None:
    content = stream(ended=False)
    reading = asyncio.ensure_future(Body(request(content), LIMITS, account).read())
    for _ in range(pieces):
        content.feed_data(b"x")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    content.feed_eof()
    try:
        await reading
    except Problem as problem:
        return problem
    return None


async def test_other_requests_run_between_the_steps_of_a_compressed_body() -> None:
    """Counted in turns of the loop, not in seconds: one at least for each step of 4 KiB."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.ensure_future(other())
    noise = b"".join(zlib.crc32(number.to_bytes(4)).to_bytes(4) for number in range(50_000))
    packed = gzip.compress(noise)
    await read(packed, Content_Encoding="gzip")
    running.cancel()
    assert turns >= len(packed) // 4_096


def test_a_poor_line_has_ten_minutes_and_a_dead_one_half_a_minute() -> None:
    assert PACE.seconds(0) == PACE.seconds(7_500) == 30
    assert PACE.seconds(25_000) == 100
    assert PACE.seconds(1_000_000) == 600


async def fed(pace: Pace, pieces: Iterable[float]) -> Problem | None:
    """A byte after each pause."""
    content = stream(ended=False)
    reading = asyncio.ensure_future(Body(request(content), BodyLimits(1_000, 0, pace)).read())
    for pause in pieces:
        await asyncio.sleep(pause)
        content.feed_data(b"x" * 10)
    content.feed_eof()
    try:
        assert await reading
    except Problem as problem:
        return problem
    return None


async def test_a_slow_body_that_keeps_its_pace_is_waited_for() -> None:
    assert await fed(Pace(0.2, 20, 60), [0.05] * 12) is None


async def test_a_slower_one_is_not() -> None:
    problem = await fed(Pace(0.2, 1_000, 60), [0.05] * 12)
    assert problem is not None
    assert (problem.status, problem.code) == (408, "body_too_slow")
    assert "1000 bytes a second" in problem.detail


async def test_nor_is_one_that_never_ends() -> None:
    problem = await fed(Pace(0.1, 1, 0.3), [0.05] * 12)
    assert problem is not None
    assert problem.status == 408


async def test_where_compression_is_not_taken_it_is_415() -> None:
    problem = await refused(b"x", limits=BodyLimits(10, 0, PACE), Content_Encoding="gzip")
    assert (problem.status, problem.headers) == (415, {"Accept-Encoding": "identity"})
    assert (await refused(b"x", Content_Encoding="br")).headers == {"Accept-Encoding": "gzip, identity"}


async def test_a_length_that_says_too_much_is_refused_unread() -> None:
    content = Mock(spec=StreamReader)
    for headers in ({"Content_Length": "1048577"}, {"Content_Length": "524289", "Content_Encoding": "gzip"}):
        with pytest.raises(Problem) as caught:
            Body(request(content, **headers), LIMITS)
        assert caught.value.status == 413
    content.readany.assert_not_called()
