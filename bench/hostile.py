"""What bench_neighbour.py sets beside a good gateway: each kind within the published limits, at the rate they allow."""

import asyncio
import gzip
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

import aiohttp

from metering_common.contract.batch_id import new_batch_id

PODS = 2
REQUESTS, BYTES, VALUES = 200.0 * PODS, 16.0 * 1_048_576 * PODS, 50_000.0 * PODS
"""A second; INGEST_REQUESTS_PER_SECOND, INGEST_BYTES_PER_SECOND and INGEST_VALUES_PER_SECOND of all pods."""
COMPRESSED_PRICE, STANDARD_PRICE = 8, 16
SLOW_UPLOADS, SLOW_BYTES, SLOW_SECONDS = 374, 374_000, 30
LOOKUPS = 8


class Attacker(NamedTuple):
    """A gateway with a device of its own, of another provider than the good one."""

    url: str
    number: str
    token: str
    session: aiohttp.ClientSession
    statuses: Counter[int]

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}", "content-type": "application/json"}


class Body(NamedTuple):
    """What is sent again and again, and what one costs."""

    data: Callable[[str, int], bytes]
    """Of the device's number and the request's."""
    bytes: float
    values: float = 0
    encoding: str = "identity"

    @property
    def per_second(self) -> float:
        by_values = VALUES / self.values if self.values else REQUESTS
        return min(REQUESTS, BYTES / self.bytes, by_values)


def body_of(number: str, values: str, measures: int = 1) -> bytes:
    now = int(time.time()) - 3_600
    parts = ",".join(f'{{"timestamp":{now + at},"sensorValues":{values}}}' for at in range(measures))
    return f'[{{"deviceNumber":{json.dumps(number)},"measures":[{parts}]}}]'.encode()


def zeros(count: int) -> Callable[[str, int], bytes]:
    return lambda number, _: body_of(number, "[" + ",".join(["0"] * count) + "]")


def one_unknown_name(number: str, request: int) -> bytes:
    values = [{"sensorName": f"V{value}", "sensorValue": request} for value in range(30)]
    return body_of(number, json.dumps(values), 100)


def new_names(number: str, request: int) -> bytes:
    values = [{"sensorName": f"{request} {value}", "sensorValue": 1} for value in range(30)]
    return body_of(number, json.dumps(values), 100)


def blocks_without_content(count: int) -> bytes:
    """Deflate blocks that define their codes and hold nothing (RFC 1951, section 3.2.7)."""
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1)
    lengths = "".join("100" if symbol in (18, 1) else "000" for symbol in order)
    codes = "1" + f"{127:07b}"[::-1] + "1" + f"{107:07b}"[::-1] + "00"
    block = "001" + "0" * 10 + f"{len(order) - 4:04b}"[::-1] + lengths + codes + "0"
    bits = block * count + "110" + "0000000"
    bits += "0" * (-len(bits) % 8)
    return b"\x1f\x8b\x08" + bytes(7) + int(bits[::-1], 2).to_bytes(len(bits) // 8, "little") + bytes(8)


def fixed(data: bytes) -> Callable[[str, int], bytes]:
    return lambda _number, _request: data


EMPTY_MEMBERS = gzip.compress(b"") * 26_000
EMPTY_BLOCKS = blocks_without_content(40_000)
BARE_WORDS = ",".join(["NaN"] * 10_000)
BODIES = {
    "10,000 zeros": Body(zeros(10_000), 20_000, 10_000),
    "half a million zeros": Body(zeros(524_000), 1_048_576),
    "names that are unknown": Body(one_unknown_name, 130_000, 3_000),
    "names that are always new": Body(new_names, 130_000, 3_000),
    "26,000 empty gzip members": Body(fixed(EMPTY_MEMBERS), 4_096 * COMPRESSED_PRICE, encoding="gzip"),
    "deflate blocks of nothing": Body(fixed(EMPTY_BLOCKS), len(EMPTY_BLOCKS) * COMPRESSED_PRICE, encoding="gzip"),
    "bare words": Body(lambda number, _: body_of(number, f"[{BARE_WORDS}]"), 40_000 * STANDARD_PRICE, 10_000),
    "not JSON": Body(fixed(b"[" + b'"",' * 87_000), 261_000 * STANDARD_PRICE),
}


async def send_bodies(attacker: Attacker, kind: Body) -> None:
    """At the rate that the limits allow, whatever becomes of them; no more than 64 at once."""
    places = asyncio.Semaphore(64)
    url = f"{attacker.url}/api/v1/measurements"
    headers = attacker.headers | ({"content-encoding": kind.encoding} if kind.encoding != "identity" else {})

    async def one(number: int) -> None:
        async with places:
            with suppress(aiohttp.ClientError):
                data = await asyncio.to_thread(kind.data, attacker.number, number)
                async with attacker.session.post(url, data=data, headers=headers) as answer:
                    attacker.statuses[answer.status] += 1

    async with asyncio.TaskGroup() as tasks:
        begun = time.perf_counter()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, begun + number / kind.per_second - time.perf_counter()))
            if not places.locked():
                tasks.create_task(one(number))


async def upload_slowly(attacker: Attacker) -> None:
    """374 bodies that are begun and never end, renewed every half a minute."""

    async def body() -> AsyncIterator[bytes]:
        yield b"[" + b" " * SLOW_BYTES
        await asyncio.sleep(SLOW_SECONDS)

    async def one() -> None:
        while True:
            with suppress(aiohttp.ClientError):
                url = f"{attacker.url}/api/v1/measurements"
                async with attacker.session.post(url, data=body(), headers=attacker.headers) as answer:
                    attacker.statuses[answer.status] += 1
            await asyncio.sleep(1)

    await asyncio.gather(*[one() for _ in range(SLOW_UPLOADS)])


async def look_up_invented(attacker: Attacker) -> None:
    """Results of requests that were never sent, eight at once, of half an hour ago."""

    async def one() -> None:
        while True:
            invented: UUID = new_batch_id(int((time.time() - 1_800) * 1_000))
            url = f"{attacker.url}/api/v1/measurements/batches/{invented}"
            async with attacker.session.get(url, headers=attacker.headers) as answer:
                attacker.statuses[answer.status] += 1
            await asyncio.sleep(LOOKUPS / REQUESTS)

    await asyncio.gather(*[one() for _ in range(LOOKUPS)])


async def try_tokens(attacker: Attacker) -> None:
    """Junk at the refresh, fifty a second, half of it nested deep."""
    url = f"{attacker.url}/api/v1/auth/token/refresh"
    for number in itertools.count():
        data = b'{"a":' * 3_000 if number % 2 else b'{"refreshToken":"x.y.z"}'
        async with attacker.session.post(url, data=data, headers={"content-type": "application/json"}) as answer:
            attacker.statuses[answer.status] += 1
        await asyncio.sleep(0.02)


def bodies(kind: Body) -> Callable[[Attacker], Awaitable[None]]:
    return lambda attacker: send_bodies(attacker, kind)


ATTACKS: dict[str, Callable[[Attacker], Awaitable[None]]] = {name: bodies(kind) for name, kind in BODIES.items()} | {
    "374 slow uploads": upload_slowly,
    "results of invented requests": look_up_invented,
    "junk at the refresh": try_tokens,
}
