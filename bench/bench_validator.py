"""How fast the validator is, as ratios (to the bare typed decode, to a bare Faust loop, of one partition to all).

`python bench/bench_validator.py`. First without Kafka, on one core: bytes of a raw record in, bytes of its validated
record and its outcome out, by turns with msgspec's typed decode. Then with a Kafka of its own: the whole process, by
turns with a Faust loop that does nothing but send each record on, over the same records of one measure. Where the rest
goes is printed too. Then a backlog of one device, so of one partition beside silent ones, against one of all. At last
the memory that it takes while all partitions hold the largest bodies, and each answer of Kafka many of them.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from validator_support import builders

from metering_common.contract import codec, topics
from metering_common.contract.metadata import decode_headers, encode_headers
from metering_common.kafka import clients
from metering_common.kafka.publisher import Publisher, Record
from metering_common.registry.documents import Device, Meta, RegistryDocument, Sensor, document_key, encode_document
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_local import kafka as local_kafka
from metering_validator.domain.validation import validate
from metering_validator.record_results import RawRecord, validate_record

LEAST_OF_DECODE = {100: 0.2}
LEAST_OF_FAUST = 0.6
LEAST_OF_ONE_PARTITION = 0.6
MOST_MEMORY_MB = 320
"""What the chart asks for."""
SENSORS = 30
DICTIONARY = json.loads((Path(__file__).parents[1] / "data" / "sensor_dictionary.json").read_text())
ALL: tuple[Sensor, ...] = tuple(builders.sensor(n + 1, entry["name"]) for n, entry in enumerate(DICTIONARY))
BARE = [sys.executable, str(Path(__file__).with_name("bare_faust_loop.py"))]
VALIDATOR = [sys.executable, "-m", "metering_validator"]


class BareValue(msgspec.Struct):
    sensorName: str  # noqa: N815  as in the document
    sensorValue: float  # noqa: N815


class BareMeasure(msgspec.Struct):
    timestamp: int
    sensorValues: list[BareValue]  # noqa: N815


class BareElement(msgspec.Struct):
    deviceNumber: str  # noqa: N815
    measures: list[BareMeasure]


def device(number: int) -> Device:
    return Device(id=number, provider=1, number=str(number), sensors=tuple(range(1, SENSORS + 1)))


def body(measures: int) -> bytes:
    """As a gateway sends it: 30 values a measure, 2 KB."""
    return _element([[(sensor.name, round(0.37 * n + sensor.id * 7.77, 2)) for sensor in ALL] for n in range(measures)])


def varied_bodies(measures: int) -> list[bytes]:
    """That compress no better than what meters say: a fetch brings so many bytes, not so many records."""
    anyhow = random.Random(1)
    return [
        _element([[(sensor.name, round(anyhow.uniform(0, 1_000), 3)) for sensor in ALL] for _ in range(measures)])
        for _ in range(10)
    ]


def largest_body() -> bytes:
    """As much as ingest-api lets in, of which Kafka packs very many into one answer."""
    return _element([[(sensor.name, 230.25) for sensor in ALL]] * 500)


def _element(rows: Sequence[Sequence[tuple[str, float]]]) -> bytes:
    return builders.element(*(builders.measure(builders.NOW - 60 * n, *row) for n, row in enumerate(rows)))


def microseconds(parts: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """CPU time per call, by turns, the quickest of several stretches each: what else the machine does is left out."""
    best = dict.fromkeys(parts, float("inf"))
    deadline = time.process_time() + seconds * len(parts)
    while time.process_time() < deadline:
        for name, work in parts.items():
            started, calls = time.process_time(), 0
            while time.process_time() - started < 0.01:
                work()
                calls += 1
            best[name] = min(best[name], (time.process_time() - started) / calls * 1e6)
    return best


def compare_with_decode(measures: int, seconds: float) -> float:
    """Prints where the time goes; gives the ratio."""
    value, context = body(measures), builders.context(device(29), ALL)
    headers = encode_headers(builders.headers())
    record = RawRecord(context.raw, 0, b"29", value, headers)
    decoder, result = msgspec.json.Decoder(BareElement), validate(value, context)
    spoiled = value[:-1] + b',"x":NaN}'
    assert result.validated.counts.accepted == measures * SENSORS
    parts: dict[str, Callable[[], object]] = {
        "bare typed decode": lambda: decoder.decode(value),
        "whole validation": lambda: validate_record(record, context, 0),
        "  of which reading": lambda: context.dictionary.reader.read(value),
        "  of which validating": lambda: validate(value, context),
        "  of which encoding the validated record": lambda: codec.encode(result.validated),
        "  of which encoding the outcome": lambda: codec.encode(result.outcome),
        "beside it: decoding the headers": lambda: decode_headers(headers),
        "the long way, if something is amiss": lambda: validate(spoiled, context),
    }
    taken = microseconds(parts, seconds)
    values = measures * SENSORS
    print(f"\nbody of {measures}, {len(value):,} bytes, {values:,} values; without Kafka, one core")
    for name, one in taken.items():
        print(f"  {name:40} {one:9.1f} µs  {values / one:6.2f} M values/s")
    return taken["bare typed decode"] / taken["whole validation"]


class Run(NamedTuple):
    """One process over all raw records."""

    per_second: float
    per_cpu_second: float
    peak_mb: float

    def __str__(self) -> str:
        return f"{self.per_second:7,.0f}/s ({self.per_cpu_second:7,.0f} per CPU second)"


async def compare_with_faust(count: int, rounds: int) -> tuple[float, float]:
    """Ratios of events per second and of events per CPU second, medians over the rounds."""
    pairs = []
    async with backlog([body(1)], count, devices=100) as (settings, folder):
        for number in range(rounds):
            bare = await run(BARE, settings, count, folder / f"bare-{number}")
            ours = await run(VALIDATOR, settings, count, folder / f"ours-{number}")
            print(f"  bare loop {bare}   validator {ours}")
            pairs.append((ours.per_second / bare.per_second, ours.per_cpu_second / bare.per_cpu_second))
    return statistics.median(pair[0] for pair in pairs), statistics.median(pair[1] for pair in pairs)


async def compare_partitions(count: int, rounds: int) -> float:
    """Ratio of events per second, median over the rounds."""
    bodies, ratios = varied_bodies(100), []
    async with (
        backlog(bodies, count, devices=100) as (spread, folder),
        backlog(bodies, count, devices=1) as (alone, _folder),
    ):
        for number in range(rounds):
            all_ = await run(VALIDATOR, spread, count, folder / f"all-{number}")
            one = await run(VALIDATOR, alone, count, folder / f"one-{number}")
            print(f"  all partitions {all_}   one {one}")
            ratios.append(one.per_second / all_.per_second)
    return statistics.median(ratios)


async def memory(waiting: int) -> float:
    """Peak of resident memory in MB while the first fifth of what waits is worked off."""
    async with backlog([largest_body()], waiting, devices=100) as (settings, folder):
        return (await run(VALIDATOR, settings, waiting // 5, folder / "largest")).peak_mb


@asynccontextmanager
async def backlog(bodies: Sequence[bytes], count: int, devices: int) -> AsyncIterator[tuple[KafkaSettings, Path]]:
    """A Kafka of its own with so many raw records, and a folder."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-validator-") as name,
        local_kafka.start(Path(name) / "kafka") as server,
    ):
        settings = KafkaSettings(bootstrap_servers=server.bootstrap, environment="laptop")
        await topics.apply(settings)
        await publish_all(settings, bodies, count, devices)
        yield settings, Path(name)


async def publish_all(settings: KafkaSettings, bodies: Sequence[bytes], count: int, devices: int) -> None:
    documents: list[RegistryDocument] = [
        Meta(epoch=builders.EPOCH, created_at=builders.NOW),
        *ALL,
        *(device(number) for number in range(100)),
    ]
    headers = encode_headers(builders.headers())
    async with Publisher.open(settings, SystemClock(), deadline_seconds=60) as publisher:
        await publisher.publish(
            [Record(topics.REGISTRY, document_key(each).encode(), encode_document(each), []) for each in documents]
        )
        for start in range(0, count, 100):
            await publisher.publish(
                [
                    Record(topics.RAW, b"%d" % (number % devices), bodies[number % len(bodies)], headers)
                    for number in range(start, start + 100)
                ]
            )


async def run(command: list[str], settings: KafkaSettings, count: int, folder: Path) -> Run:
    """Starts the process, lets it work off all raw records, and times it between its first and its last output."""
    before = await ends(settings)
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "KAFKA_ENVIRONMENT": "laptop",
        "VALIDATOR_ADMIN_HOST": "127.0.0.1",
        "VALIDATOR_ADMIN_PORT": "0",
        "VALIDATOR_GROUP_ID": folder.name,
    }
    with folder.with_suffix(".log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log)
        watched = psutil.Process(process.pid)
        try:
            started = await until(settings, before + count // 40, watched)
            ended = await until(settings, before + count, watched)
        finally:
            process.kill()
            await process.wait()
    done = ended.records - started.records
    return Run(
        done / (ended.at - started.at),
        done / (ended.cpu_seconds - started.cpu_seconds),
        max(started.peak_bytes, ended.peak_bytes) / 2**20,
    )


class Mark(NamedTuple):
    """A moment, and what the process had done and taken by then."""

    at: float
    cpu_seconds: float
    records: int
    peak_bytes: int


async def until(settings: KafkaSettings, count: int, process: psutil.Process) -> Mark:
    """When the validated topic has so many records."""
    peak = 0
    async with clients.consumer(settings) as consumer:
        while True:
            done = await _ends(consumer, settings)
            times = process.cpu_times()
            peak = max(peak, process.memory_info().rss)
            if done >= count:
                return Mark(time.monotonic(), times.user + times.system, done, peak)
            await asyncio.sleep(0.02)


async def ends(settings: KafkaSettings) -> int:
    async with clients.consumer(settings) as consumer:
        return await _ends(consumer, settings)


async def _ends(consumer: AIOKafkaConsumer, settings: KafkaSettings) -> int:
    partitions = topics.load_contracts()[topics.VALIDATED].environments[settings.environment].partitions
    found = await consumer.end_offsets([TopicPartition(topics.VALIDATED, number) for number in range(partitions)])
    return sum(found.values())


def report(name: str, ratio: float, least: float | None) -> bool:
    holds = least is None or ratio >= least
    limit = "" if least is None else f", at least {least}: {'holds' if holds else 'DOES NOT HOLD'}"
    print(f"{name}: {ratio:.2f}{limit}")
    return holds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each measurement without Kafka")
    parser.add_argument("--events", type=int, default=40_000, help="records of one measure for the Faust loops")
    parser.add_argument(
        "--large-events", type=int, default=1_200, help="records of 100 measures for one or all partitions"
    )
    parser.add_argument("--rounds", type=int, default=3, help="by turns; the median ratio counts")
    options = parser.parse_args()
    holds = []
    for measures in (100, 1):
        ratio = compare_with_decode(measures, options.seconds)
        holds.append(
            report(f"validation / bare typed decode, bodies of {measures}", ratio, LEAST_OF_DECODE.get(measures))
        )
    print(f"\nbody of 1, {options.events:,} events through Kafka; one process each")
    by_time, by_cpu = uvloop.run(compare_with_faust(options.events, options.rounds))
    holds.append(report("validator / bare Faust loop, events per second, bodies of 1", by_time, LEAST_OF_FAUST))
    report("the same per CPU second", by_cpu, None)
    print(f"\nbody of 100, {options.large_events:,} events through Kafka")
    of_all = uvloop.run(compare_partitions(options.large_events, options.rounds))
    holds.append(report("validator, one busy partition / all busy, events per second", of_all, LEAST_OF_ONE_PARTITION))
    print("\nbodies of 1 MiB, all alike, 1,200 waiting in Kafka")
    peak = uvloop.run(memory(1_200))
    holds.append(peak <= MOST_MEMORY_MB)
    print(
        f"peak of resident memory: {peak:.0f} MB, at most {MOST_MEMORY_MB}: {'holds' if holds[-1] else 'DOES NOT HOLD'}"
    )
    return 0 if all(holds) else 1


if __name__ == "__main__":
    sys.exit(main())
