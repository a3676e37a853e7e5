"""ingest-api in operation: drained on SIGTERM, restarted behind the balancer under load, fair to quiet gateways."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import pytest
from ingest_api_support import (
    Address,
    IngestApiProcess,
    IngestApiUnderTest,
    ingest_process,
    make_token,
)
from multidict import CIMultiDict

from metering_local.caddyfile import caddyfile
from metering_local.kafka import KafkaServer
from metering_local.stack import SECOND_HOST, Stack
from metering_local.testing_stack import free_base

BODY = b'[{"deviceNumber":"29","measures":[{"timestamp":1566226133,"sensorValues":[]}]}]'
PATH = "/api/v1/measurements"
FAIR_FLOOR_SECONDS = 0.1
"""Below this a p99 on a machine shared with other tests says nothing."""


def test_everything_stops_at_once_and_cleanly_without_requests(
    process: IngestApiProcess, tmp_path: Path, address: Address
) -> None:
    with ingest_process(process.bootstrap, tmp_path, address) as ingest_api:
        assert ingest_api.stop() == 0


async def test_requests_in_flight_are_finished_on_sigterm(
    ingest_api: IngestApiUnderTest, tmp_path: Path, address: Address
) -> None:
    """Some wait for a result, some still send their body: all get their answer, new connections are not taken."""
    with ingest_process(ingest_api.kafka.bootstrap_servers, tmp_path, address) as process:
        there = IngestApiUnderTest(process.port, process.admin_port, ingest_api.session, ingest_api.kafka)
        waiting = [asyncio.create_task(there.post(BODY, headers={"Prefer": "wait=2"})) for _ in range(5)]
        sending = [asyncio.create_task(send_slowly(process.port)) for _ in range(5)]
        while await there.metric("metering_ingest_waiting") < 5:
            pass
        stopping = asyncio.create_task(asyncio.to_thread(process.stop))
        assert {(await answer).status for answer in waiting} == {201}
        assert {(await reply).split(b" ")[1] for reply in sending} == {b"201"}
        assert await stopping == 0


async def send_slowly(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {make_token()}\r\n"
    writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:10])
    await asyncio.sleep(1)
    writer.write(BODY[10:])
    reply = await reader.readuntil(b"\r\n")
    writer.close()
    return reply


async def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on(ingest_api: IngestApiUnderTest) -> None:
    """RFC 9110, section 10.1.1: curl asks so for bodies of more than a megabyte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", ingest_api.port)
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {make_token()}\r\nExpect: 100-continue\r\n"
    writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n".encode())
    async with asyncio.timeout(20):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        writer.write(BODY)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 201 ")
    writer.close()


async def test_a_refused_client_is_not_told_to_send_its_body(ingest_api: IngestApiUnderTest) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(BODY)}\r\n\r\n"
    async with asyncio.timeout(20), connection(ingest_api) as (reader, writer):
        writer.write(head.encode())
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("request_line", "field", "told", "stays"),
    [
        ("GET {} HTTP/1.1", "X-Nothing: 1", None, True),
        ("HEAD {} HTTP/1.1", "X-Nothing: 1", None, True),
        ("GET {} HTTP/1.1", "Connection: close", "close", False),
        ("GET {} HTTP/1.0", "X-Nothing: 1", None, False),
        ("GET {} HTTP/1.0", "Connection: keep-alive", "keep-alive", True),
    ],
)
async def test_an_answer_suits_the_clients_connection(
    ingest_api: IngestApiUnderTest, request_line: str, field: str, told: str | None, *, stays: bool
) -> None:
    """Whatever a client asks of the connection: the same fields, the length of the body, and whether it stays."""
    head = f"{request_line.format('/api/v1/spec')}\r\nHost: x\r\n{field}\r\n\r\n".encode()
    async with asyncio.timeout(20), connection(ingest_api) as (reader, writer):
        for _ in range(2 if stays else 1):
            writer.write(head)
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = CIMultiDict([(name, value) for name, _, value in (line.partition(": ") for line in lines)])
            assert status.split(" ", 1)[1] == "200 OK"
            assert {"Date", "Content-Type", "X-Request-Id"} <= fields.keys()
            assert fields.get("Connection") == told
            length = int(fields["Content-Length"])
            assert length > 1_000
            if not request_line.startswith("HEAD"):
                json.loads(await reader.readexactly(length))
        if not stays:
            assert await reader.read() == b""


async def test_a_client_that_reads_no_answers_gets_no_more_of_them(ingest_api: IngestApiUnderTest) -> None:
    """They would gather in memory without end: what it asks beyond the connection's buffers waits unread."""
    asked, told = 3_000, "metering_ingest_requests_total"
    before = await ingest_api.metric(told, route="/api/v1/spec")
    async with asyncio.timeout(60), connection(ingest_api) as (reader, writer):
        writer.write(b"GET /api/v1/spec HTTP/1.1\r\nHost: x\r\n\r\n" * asked)
        answered = -1.0
        while answered != (answered := await ingest_api.metric(told, route="/api/v1/spec") - before):  # noqa: ASYNC110  asked over HTTP
            await asyncio.sleep(1)
        assert 0 < answered < asked / 2
        for _ in range(asked):
            head = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
            await reader.readexactly(int(fields[b"Content-Length"]))
    assert await ingest_api.metric(told, route="/api/v1/spec") - before == asked


@asynccontextmanager
async def connection(
    ingest_api: IngestApiUnderTest,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", ingest_api.port)
    try:
        yield reader, writer
    finally:
        writer.close()


@contextmanager
def load_balancer(folder: Path) -> Iterator[Stack]:
    """The local platform's own, with its own configuration, before two ingest-api replicas to be started."""
    stack = Stack(folder, free_base())
    config = folder / "Caddyfile"
    config.write_text(caddyfile(stack))
    command = [str(Path(sys.executable).with_name("caddy")), "run", "--config", str(config), "--adapter", "caddyfile"]
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with (folder / "caddy.log").open("wb") as log:
        child = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        yield stack
    finally:
        child.terminate()
        child.wait(10)


async def test_a_rolling_restart_of_both_replicas_fails_no_request(
    kafka_server: KafkaServer, ingest_api: IngestApiUnderTest, tmp_path: Path
) -> None:
    """As Kubernetes does it: one replica is stopped and a new one ready before the next one's turn."""
    assert (await ingest_api.post(BODY)).status == 201
    with load_balancer(tmp_path) as stack, ExitStack() as stopping:

        def start(host: str) -> IngestApiProcess:
            address = Address(host, stack.ports.ingest_http, stack.ports.ingest_admin)
            return stopping.enter_context(
                ingest_process(kafka_server.bootstrap, tmp_path, address, INGEST_UNREADY_SECONDS="2")
            )

        replicas = [await asyncio.to_thread(start, host) for host in ("127.0.0.1", SECOND_HOST)]
        counts: Counter[str] = Counter()
        async with under_load(stack.api_url, counts):
            for replica in replicas:
                await asyncio.sleep(1.5)
                assert await asyncio.to_thread(replica.stop) == 0
                await asyncio.to_thread(start, replica.address.host)
            await asyncio.sleep(1.5)
    assert set(counts) == {"201"}, counts
    assert counts["201"] > 200


@asynccontextmanager
async def under_load(url: str, counts: Counter[str], gateways: int = 8) -> AsyncIterator[None]:
    """A few gateways post all the time; every answer and every failure is counted."""
    over = asyncio.Event()
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        posting = [asyncio.create_task(keep_posting(session, url, counts, over)) for _ in range(gateways)]
        yield
        over.set()
        await asyncio.gather(*posting)


async def keep_posting(session: aiohttp.ClientSession, url: str, counts: Counter[str], over: asyncio.Event) -> None:
    headers = {"Authorization": f"Bearer {make_token()}"}
    await until_served(session, url, headers)
    while not over.is_set():
        try:
            async with session.post(url + PATH, data=BODY, headers=headers) as response:
                counts[str(response.status)] += 1
        except aiohttp.ClientError as error:
            counts[repr(error)] += 1
        await asyncio.sleep(0.02)


async def until_served(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> None:
    """The balancer itself takes a moment to start and to see its replicas."""
    give_up_at = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < give_up_at:
        with suppress(aiohttp.ClientError):
            async with session.get(f"{url}/api/v1/server-time", headers=headers) as response:
                if response.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise AssertionError("the load balancer serves nothing")


async def test_a_noisy_gateway_leaves_the_others_their_latency(
    ingest_api: IngestApiUnderTest, tmp_path: Path, address: Address
) -> None:
    """Ten times its rate from one gateway, while another one's p99 stays within twice what it was.

    Other work on the machine only ever adds: one undisturbed round of three shows it.
    """
    limits = {"INGEST_REQUESTS_PER_SECOND": "10", "INGEST_REQUESTS_BURST": "10"}
    with ingest_process(ingest_api.kafka.bootstrap_servers, tmp_path, address, **limits) as process:
        url = f"http://127.0.0.1:{process.port}{PATH}"
        rounds = [await alone_and_beside(url) for _ in range(3)]
    assert any(beside <= max(2 * alone, FAIR_FLOOR_SECONDS) for alone, beside in rounds), rounds


async def alone_and_beside(url: str) -> tuple[float, float]:
    """The quiet gateway's p99, seconds: without the noisy one and beside it."""
    alone = p99(await pace(url, gateway=3, per_second=8, seconds=3))
    noise = asyncio.create_task(pace(url, gateway=2, per_second=100, seconds=4))
    beside = p99(await pace(url, gateway=3, per_second=8, seconds=3))
    statuses = Counter(status for status, _ in await noise)
    assert statuses[429] > statuses[201] > 0
    return alone, beside


async def pace(url: str, gateway: int, per_second: float, seconds: float) -> list[tuple[int, float]]:
    """Status and latency of each request, sent when due whatever became of the ones before."""
    loop = asyncio.get_running_loop()
    headers = {"Authorization": f"Bearer {make_token(gateway=gateway)}"}

    async def one(session: aiohttp.ClientSession, due: float) -> tuple[int, float]:
        await asyncio.sleep(due - loop.time())
        started = loop.time()
        async with session.post(url, data=BODY) as response:
            await response.read()
            return response.status, loop.time() - started

    async with aiohttp.ClientSession(headers=headers, skip_auto_headers=["Content-Type"]) as session:
        start = loop.time()
        due = [start + number / per_second for number in range(int(per_second * seconds))]
        return await asyncio.gather(*[one(session, moment) for moment in due])


def p99(answers: list[tuple[int, float]]) -> float:
    assert {status for status, _ in answers} == {201}
    return sorted(seconds for _, seconds in answers)[len(answers) * 99 // 100]
