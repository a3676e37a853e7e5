"""What a request costs its gateway: before it costs, also when it fails, and never its neighbour."""

import asyncio
import gzip
import json
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from ingest_api_support import Address, IngestApiUnderTest, ingest_process, make_token

from metering_common.contract.batch_id import new_batch_id
from metering_common.service.clock import SystemClock

GOOD = [{"deviceNumber": "29", "measures": [{"timestamp": 1_566_226_133, "sensorValues": []}]}]
NEIGHBOUR = 3
Start = Callable[[dict[str, str]], AbstractAsyncContextManager[IngestApiUnderTest]]


def body(values: Any) -> bytes:
    return json.dumps([{"deviceNumber": "29", "measures": [{"timestamp": 1, "sensorValues": values}]}]).encode()


LITTLE = {
    "INGEST_BYTES_PER_SECOND": "100",
    "INGEST_BYTES_BURST": "100000",
    "INGEST_VALUES_PER_SECOND": "10",
    "INGEST_VALUES_BURST": "1000",
}
SMALL = {"INGEST_MAX_IN_FLIGHT_BYTES": "2000000", "INGEST_BODY_SECONDS": "1"}


@pytest.fixture
def start(ingest_api: IngestApiUnderTest, tmp_path: Path, address: Address) -> Start:
    """An ingest-api of its own, with these settings."""

    @asynccontextmanager
    async def starting(settings: dict[str, str]) -> AsyncIterator[IngestApiUnderTest]:
        with ingest_process(ingest_api.kafka.bootstrap_servers, tmp_path, address, **settings) as process:
            async with ClientSession(auto_decompress=False) as session:
                yield IngestApiUnderTest(process.port, process.admin_port, session, ingest_api.kafka)

    return starting


@pytest.fixture
async def limited(start: Start) -> AsyncIterator[IngestApiUnderTest]:
    """A gateway has a hundred kilobytes and a thousand values."""
    async with start(LITTLE) as running:
        yield running


@pytest.fixture
async def small(start: Start) -> AsyncIterator[IngestApiUnderTest]:
    """Two megabytes may be in flight; a body must come at 250 bytes a second after one second."""
    async with start(SMALL) as running:
        yield running


async def neighbour_is_served(limited: IngestApiUnderTest) -> None:
    answer = await limited.post(GOOD, token=make_token(gateway=NEIGHBOUR))
    assert answer.status == 201, answer.body


async def test_values_are_counted_and_a_gateway_over_them_is_told_so(limited: IngestApiUnderTest) -> None:
    value = {"sensorName": "Corriente A", "sensorValue": 1}
    assert (await limited.post(body([value] * 1_500))).status == 201
    refused = await limited.post(GOOD)
    assert (refused.status, refused.code, refused.json()["limit"]["unit"]) == (429, "rate_values", "values")
    assert 45 <= int(refused.headers["Retry-After"]) <= 51
    await neighbour_is_served(limited)


@pytest.mark.parametrize(
    ("data", "headers", "status"),
    [
        (b"[" + b" " * 60_000, {}, 400),
        (body(["x" * 60_000]) + b"?", {}, 400),
        (gzip.compress(bytes(range(256)) * 600)[:-9], {"Content-Encoding": "gzip"}, 400),
        (b"[" + b"NaN," * 10_000, {}, 400),
        (gzip.compress(bytes(2_000_000)), {"Content-Encoding": "gzip"}, 413),
    ],
    ids=["not closed", "rubbish behind", "broken gzip", "the standard decoder", "too large"],
)
async def test_a_request_that_fails_has_paid(
    limited: IngestApiUnderTest, data: bytes, headers: dict[str, str], status: int
) -> None:
    first = await limited.post(data, headers=headers)
    assert first.status == status, first.body
    refused = await limited.post(GOOD)
    assert (refused.status, refused.code) == (429, "rate_bytes")
    await neighbour_is_served(limited)


async def test_a_compressed_body_of_nothing_pays_for_its_wire(limited: IngestApiUnderTest) -> None:
    packed = gzip.compress(b"", mtime=0)[:-8]  # begun, never ended
    for _ in range(40):
        data = packed + b"\x00\x00\x00\xff\xff" * 100  # empty stored blocks
        answer = await limited.post(data, headers={"Content-Encoding": "gzip"})
        if answer.status == 429:
            break
    assert (answer.status, answer.code) == (429, "rate_bytes")
    await neighbour_is_served(limited)


async def test_slow_uploads_of_one_gateway_do_not_refuse_another(small: IngestApiUnderTest) -> None:
    """374 of them, of 10 kB each that never end, at a pod that holds 2 MB."""
    head = (
        f"POST /api/v1/measurements HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {make_token()}\r\n"
        "Content-Length: 20000\r\n\r\n"
    ).encode()
    async with slow_uploads(small.port, 374, head + b"[" + b" " * 9_999):
        for _ in range(30):
            await neighbour_is_served(small)
            assert await small.metric("metering_ingest_in_flight_bytes") <= 1_000_000
    assert await small.metric("metering_ingest_problems_total", code="overloaded") == 0


@asynccontextmanager
async def slow_uploads(port: int, count: int, begun: bytes) -> AsyncIterator[None]:
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        for _, writer in streams:
            writer.write(begun)
        await asyncio.sleep(0.3)
        yield
    finally:
        for _, writer in streams:
            writer.close()


async def test_a_poor_line_gets_through_and_a_dead_one_gets_408(small: IngestApiUnderTest) -> None:
    whole = json.dumps(GOOD).encode() + b" " * 2_000

    async def slowly(pause: float) -> AsyncIterator[bytes]:
        for start in range(0, len(whole), 200):
            await asyncio.sleep(pause)
            yield whole[start : start + 200]

    async def sent(pause: float) -> int:
        headers = {"Authorization": f"Bearer {make_token()}", "Content-Type": "application/json"}
        url = f"{small.url}/api/v1/measurements"
        async with small.session.post(url, data=slowly(pause), headers=headers) as response:
            return response.status

    assert list(await asyncio.gather(sent(0.2), sent(1.5))) == [201, 408]


async def test_a_gateway_looks_up_one_result_at_a_time_and_invented_ones_are_paid_for(
    small: IngestApiUnderTest,
) -> None:
    now_ms = SystemClock().now_ms()

    async def invented() -> int:
        return (await small.ask("GET", f"/measurements/batches/{new_batch_id(now_ms)}")).status

    statuses = Counter(await asyncio.gather(*[invented() for _ in range(8)]))
    assert statuses[429] >= 6
    assert statuses[200] + statuses[429] == 8
    await neighbour_is_served(small)


async def test_a_token_that_nests_as_deep_as_it_can_is_a_401(small: IngestApiUnderTest) -> None:
    token = urlsafe_b64encode(b'{"a":' * 1_100).decode().rstrip("=") + ".e30.c2ln"
    answer = await small.ask("GET", "/server-time", token=token)
    assert (answer.status, answer.code) == (401, "token_invalid")
