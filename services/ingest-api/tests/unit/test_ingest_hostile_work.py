"""Whatever a body is, the work on it is bounded by what it pays: calls and bytes of memory are counted, not seconds."""

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from body_streams import stream
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_common.http.bodies import Body, BodyLimits, Pace
from metering_common.http.problems import Problem
from metering_ingest_api import application
from metering_ingest_api.domain import limits

pytestmark = pytest.mark.fast

LIMITS = BodyLimits(1_048_576, 524_288, Pace(30, 250, 600))
VALUE_BYTES = 64
"""As much as an ordinary value takes in JSON: what one value of the rate stands for."""
MEMORY_PER_BYTE = 64
MEMORY_FREE = 1_500_000
"""Some steps of inflating, and the tables of the decoders."""
CALLS_PER_BYTE = 0.5
CALLS_FREE = 5_000


class Purse:
    """What a request has paid: bytes, and values as bytes."""

    def __init__(self) -> None:
        self.paid = 0

    def charge(self, size: int) -> None:
        self.paid += size

    def hold(self, size: int) -> None:
        pass

    def take_bytes(self, size: int) -> None:
        self.paid += size

    def take_values(self, count: int) -> None:
        self.paid += count * VALUE_BYTES


class Work:
    """Calls of functions, those in C too, and the most memory that was held."""

    calls = 0
    memory = 0


@contextmanager
def counted() -> Iterator[Work]:
    work = Work()

    def count(_frame: Any, event: str, _argument: Any) -> None:
        work.calls += event in ("call", "c_call")

    tracemalloc.start()
    sys.setprofile(count)
    try:
        yield work
    finally:
        sys.setprofile(None)
        work.memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


async def taking_in(data: bytes, encoding: str, purse: Purse) -> Work:
    """What ingest-api does with a body before it looks for its devices."""
    request = make_mocked_request("POST", "/", headers={"Content-Encoding": encoding}, payload=stream(data))
    with counted() as work, suppress(Problem):
        document = application.split(await Body(request, LIMITS, purse).read(), purse)
        limits.check(document)
        purse.take_values(document.values)
    return work


PIECES = ["0", '""', "[]", "{}", "NaN", "-Infinity", "1e400", "null", '{"a":1}', '{"sensorName":"x","sensorValue":1}']
PIECES += ['"{:,:}"', '{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6}', '"\\u0000"', '"\\ud800"', "[[[[[[[[]]]]]]]]", "9" * 399]
OTHERS = ["[", '{"a":', '"', "\\", ",", "]", "\x00", "é"]
COUNTS = st.sampled_from([1, 10, 1_000, 9_999, 10_001, 39_000, 41_000, 500_000])


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Of the right shape or nearly, or nothing of the kind; at most 1 MiB."""
    piece, count = draw(st.sampled_from(PIECES)), draw(COUNTS)
    values = ",".join([piece] * min(count, 900_000 // (len(piece) + 1)))
    place = draw(st.sampled_from(["values", "timestamp", "extra", "elements", "measures", "nothing"]))
    timestamp = f"[{values}]" if place == "timestamp" else "1"
    inside = values if place == "values" else ""
    extra = f',"x":[{values}]' if place == "extra" else ""
    measure = f'{{"timestamp":{timestamp},"sensorValues":[{inside}]{extra}}}'
    measures = ",".join([measure] * (min(count, 20_000) if place == "measures" else 1))
    text = f'[{{"deviceNumber":"29","measures":[{measures}]}}]'
    if place == "elements":
        text = f"[{values}]"
    if place == "nothing":
        text = draw(st.sampled_from(OTHERS)) * min(count * 10, 500_000)
    return text.encode()[: draw(st.sampled_from([1_048_576, 1_048_576, 300_000, -1]))]


@st.composite
def on_the_wire(draw: st.DrawFn) -> tuple[bytes, str]:
    """As it is or compressed: in one member or more, among members and blocks of nothing."""
    body = draw(bodies())
    if draw(st.booleans()):
        return body, "identity"
    packed = gzip.compress(body, compresslevel=draw(st.sampled_from([0, 1, 9])))
    nothing = draw(st.sampled_from([b"", gzip.compress(b"") * 20, gzip.compress(b"") * 20_000, stored_blocks(50_000)]))
    return nothing + packed + nothing, "gzip"


def stored_blocks(count: int) -> bytes:
    """One gzip member of empty stored blocks."""
    inflater = zlib.compressobj(wbits=31)
    return inflater.compress(b"") + b"\x00\x00\x00\xff\xff" * count + inflater.flush()


@settings(max_examples=40, derandomize=True, deadline=None)
@given(on_the_wire())
async def test_work_is_bounded_by_what_is_paid(sent: tuple[bytes, str]) -> None:
    data, encoding = sent
    purse = Purse()
    work = await taking_in(data, encoding, purse)
    assert work.calls <= CALLS_FREE + CALLS_PER_BYTE * purse.paid
    assert work.memory <= MEMORY_FREE + MEMORY_PER_BYTE * purse.paid
    assert purse.paid <= 20 * 1_048_576


async def test_the_measure_sees_work_that_is_not_paid() -> None:
    """A body for the standard decoder, with the bytes that came alone: too little by far."""
    purse = Purse()
    data = b'[{"deviceNumber":"29","measures":[{"timestamp":1,"sensorValues":[%s]}]}]' % b",".join([b"NaN"] * 60_000)
    work = await taking_in(data, "identity", purse)
    assert work.memory > MEMORY_FREE + MEMORY_PER_BYTE * len(data) / 16
