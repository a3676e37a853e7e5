"""How fast ingest-api is, as ratios to a bare aiohttp app that reads the body and answers 201: same machine, same run.

`python bench/bench_ingest_api.py` starts a Kafka, ingest-api and the bare app, and drives both by turns with one
client: bodies of 1 and of 100 measures at full load, then ingest-api at half of what it reached, for its p99.
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import aiohttp
import psutil
import uvloop
from ingest_api_support import dictionary, known_world, make_token, publish

from metering_common.contract import topics
from metering_common.registry.documents import Device
from metering_common.service.settings import KafkaSettings
from metering_local import kafka as local_kafka
from metering_local.free_ports import free_port

LEAST = {1: 0.45, 100: 0.15}
BARE = """
import asyncio, sys, uvloop
from aiohttp import web
async def answer(request):
    await request.read()
    return web.json_response({"success": True, "warnings": []}, status=201)
async def main(port):
    app = web.Application()
    app.router.add_post("/api/v1/measurements", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()
uvloop.run(main(int(sys.argv[1])))
"""


DEVICES = 256
WARM_SECONDS = 20  # of load before anything is measured: Kafka's virtual machine compiles what it runs often


def devices() -> list[Device]:
    """As many as connections: a device's records follow one another in one partition, others' do not wait for them."""
    sensors = tuple(range(1, 31))
    return [Device(id=100 + n, provider=1, number=f"bench-{n}", sensors=sensors) for n in range(DEVICES)]


@cache
def token() -> str:
    return make_token()


class Load(NamedTuple):
    """One run of the client: answers per second and the latencies' percentiles in milliseconds."""

    per_second: float
    p50: float
    p99: float


class Client(asyncio.Protocol):
    """One keep-alive connection that sends the next request when the answer is in (or when its turn has come)."""

    def __init__(self, request: bytes, interval: float, delay: float, latencies: list[float]) -> None:
        self._request, self._interval, self._latencies = request, interval, latencies
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + delay
        self._sent = 0.0
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._due += self._interval
        self._loop.call_at(self._due, self._send) if self._interval else self._send()

    def _send(self) -> None:
        if not self._transport.is_closing():
            self._sent = max(self._due, 0.0) if self._interval else self._loop.time()
            self._transport.write(self._request)  # type: ignore[attr-defined]  # a TCP transport writes

    def data_received(self, data: bytes) -> None:
        """Both answers end alike: nothing is parsed, so that the client takes as little of the two cores as it can."""
        self._buffer += data
        if not self._buffer.endswith(b"[]}"):
            return
        assert self._buffer.startswith(b"HTTP/1.1 201"), self._buffer
        self._buffer = b""
        self._latencies.append(self._loop.time() - self._sent)
        self._next()


async def drive(port: int, measures: int, seconds: float, connections: int, per_second: float = 0) -> Load:
    """Closed loop, each connection with a device of its own, or evenly paced at `per_second`.

    When paced, latency counts from when a request was due.
    """
    latencies: list[float] = []
    interval = connections / per_second if per_second else 0
    loop = asyncio.get_running_loop()
    transports = []
    for number in range(connections):
        request = make_request(port, measures, f"bench-{number % DEVICES}")
        transport, _protocol = await loop.create_connection(
            partial(Client, request, interval, interval * number / connections, latencies), "127.0.0.1", port
        )
        transports.append(transport)
    await asyncio.sleep(seconds / 4)
    latencies.clear()
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    for transport in transports:
        transport.close()
    ordered = sorted(latencies)
    return Load(
        len(ordered) / elapsed,
        ordered[len(ordered) // 2] * 1e3,
        ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3,
    )


def make_request(port: int, measures: int, device: str) -> bytes:
    values = [{"sensorName": sensor.name, "sensorValue": 1.5} for sensor in dictionary()]
    now = int(time.time())
    body = json.dumps(
        [
            {
                "deviceNumber": device,
                "measures": [{"timestamp": now - 60 * number, "sensorValues": values} for number in range(measures)],
            }
        ],
        ensure_ascii=False,
    ).encode()
    head = (
        f"POST /api/v1/measurements HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\naccept: application/json\r\n"
        f"content-type: application/json\r\nauthorization: Bearer {token()}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@contextmanager
def process(*command: str, environment: dict[str, str] | None = None, log: Path) -> Iterator[psutil.Process]:
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, *command], env=os.environ | (environment or {}), stdout=output, stderr=output
        )
        try:
            yield psutil.Process(child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


@contextmanager
def ingest_api(bootstrap: str, port: int, admin_port: int, log: Path) -> Iterator[psutil.Process]:
    """With rates that do not limit: they are not what is measured."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
        "KAFKA_ENVIRONMENT": "laptop",
        "INGEST_HTTP_HOST": "127.0.0.1",
        "INGEST_HTTP_PORT": str(port),
        "INGEST_ADMIN_HOST": "127.0.0.1",
        "INGEST_ADMIN_PORT": str(admin_port),
        "INGEST_UNREADY_SECONDS": "0",
        "INGEST_REQUESTS_PER_SECOND": "1e9",
        "INGEST_REQUESTS_BURST": "1e9",
        "INGEST_BYTES_PER_SECOND": "1e12",
        "INGEST_BYTES_BURST": "1e12",
        "INGEST_VALUES_PER_SECOND": "1e12",
        "INGEST_VALUES_BURST": "1e12",
        "INGEST_MAX_IN_FLIGHT_BYTES": str(1 << 30),
    }
    with process("-m", "metering_ingest_api", environment=environment, log=log) as child:
        yield child


async def until_answers(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status in (200, 404):
                        return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


def processor_seconds(child: psutil.Process) -> float:
    times = child.cpu_times()
    return times.user + times.system


class Run(NamedTuple):
    """A load, and the microseconds of processor per request of the server, of this client and of Kafka."""

    load: Load
    server: float
    client: float
    kafka: float

    def __str__(self) -> str:
        return (
            f"{self.load.per_second:6.0f}/s p99 {self.load.p99:5.1f} ms, processor "
            f"{self.server:.0f} + client {self.client:.0f} + Kafka {self.kafka:.0f} us"
        )


class Machine(NamedTuple):
    """Who shares the cores, and where the two servers listen."""

    ingest_api: psutil.Process
    ingest_api_port: int
    bare: psutil.Process
    bare_port: int
    kafka: psutil.Process


async def weigh(machine: Machine, server: psutil.Process, port: int, measures: int, options: argparse.Namespace) -> Run:
    parts = (server, psutil.Process(), machine.kafka)
    before = [processor_seconds(part) for part in parts]
    load = await drive(port, measures, options.seconds, options.connections)
    requests = load.per_second * options.seconds * 5 / 4  # with the warming up
    costs = [(processor_seconds(part) - was) / requests * 1e6 for part, was in zip(parts, before, strict=True)]
    return Run(load, *costs)


async def compare(machine: Machine, options: argparse.Namespace) -> bool:
    """Turn by turn, so that what else the machine does falls on both; the median of the turns' ratios counts."""
    holds = True
    for measures, least in LEAST.items():
        ratios, reached = [], []
        for _ in range(options.rounds):
            bare = await weigh(machine, machine.bare, machine.bare_port, measures, options)
            ours = await weigh(machine, machine.ingest_api, machine.ingest_api_port, measures, options)
            ratios.append(ours.load.per_second / bare.load.per_second)
            reached.append(ours.load.per_second)
            print(f"bodies of {measures}: bare {bare}   ingest_api {ours}   ratio {ratios[-1]:.2f}", flush=True)
        resident = machine.ingest_api.memory_info().rss / 1e6
        half = statistics.median(reached) / 2
        calm = await drive(machine.ingest_api_port, measures, options.seconds, options.connections, half)
        ratio = statistics.median(ratios)
        holds &= ratio >= least
        print(
            f"bodies of {measures}: ratio {ratio:.2f} (at least {least}); at half load ({half:.0f}/s) "
            f"p50 {calm.p50:.1f} ms, p99 {calm.p99:.1f} ms; resident under load {resident:.0f} MB",
            flush=True,
        )
    return holds


async def main(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="bench-ingest-api-") as folder:
        directory = Path(folder)
        with local_kafka.start(directory / "kafka") as kafka:
            settings = KafkaSettings(bootstrap_servers=kafka.bootstrap, environment="laptop")
            await topics.apply(settings)
            await publish(settings, *known_world(), *devices())
            ingest_api_port, admin_port, bare_port = free_port(), free_port(), free_port()
            with (
                ingest_api(kafka.bootstrap, ingest_api_port, admin_port, directory / "ingest_api.log") as child,
                process("-c", BARE, str(bare_port), log=directory / "bare.log") as bare_child,
            ):
                await until_answers(f"http://127.0.0.1:{admin_port}/readyz")
                await until_answers(f"http://127.0.0.1:{bare_port}/")
                machine = Machine(child, ingest_api_port, bare_child, bare_port, psutil.Process(kafka.pid))
                await drive(ingest_api_port, 1, WARM_SECONDS, options.connections)
                return 0 if await compare(machine, options) else 1


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2, help="of each run")
    parser.add_argument("--rounds", type=int, default=9, help="by turns; the median ratio counts")
    parser.add_argument("--connections", type=int, default=DEVICES, help="of the client")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(uvloop.run(main(read_options())))
