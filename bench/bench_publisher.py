"""What the publisher's care costs: its rate against the bare producer's, same broker, same records, turn by turn.

    python bench/bench_publisher.py

Small records are 2 KB (one measure), large ones 192 KB (a hundred); 128 calls at a time, one record each. Prints JSON
with the medians of three turns; CPU is this process's own, per record.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import uvloop

from metering_common.contract import topics
from metering_common.kafka import clients as kafka
from metering_common.kafka.publisher import Publisher, Record
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_local import kafka as local_kafka

TURNS = 3
CALLS_AT_A_TIME = 128
HEADERS = [(f"header-{number}", b"12345678") for number in range(12)]
KINDS = {"small": (1, 12_800), "large": (100, 1_280)}
"""Measures per record, records per turn."""

Publish = Callable[[Record], Awaitable[object]]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, local_kafka.start(Path(folder)) as server:
        settings = KafkaSettings(bootstrap_servers=server.bootstrap, environment="laptop")
        print(json.dumps(uvloop.run(measure(settings)), indent=2))


async def measure(settings: KafkaSettings) -> dict[str, Any]:
    await topics.apply(settings)
    async with (
        Publisher.open(settings, SystemClock(), deadline_seconds=60) as publisher,
        kafka.producer(settings) as bare,
    ):

        async def carefully(record: Record) -> None:
            await publisher.publish([record])

        async def barely(record: Record) -> None:
            await bare.send_and_wait(record.topic, record.value, record.key, headers=record.headers)

        return {kind: await compare(carefully, barely, *numbers) for kind, numbers in KINDS.items()}


async def compare(carefully: Publish, barely: Publish, measures: int, records: int) -> dict[str, Any]:
    value = ("[" + ",".join(one_measure(Random(number)) for number in range(measures)) + "]").encode()
    turns: dict[str, list[tuple[float, float]]] = {"publisher": [], "bare": []}
    for _ in range(TURNS):
        turns["bare"].append(await one_turn(barely, value, records))
        turns["publisher"].append(await one_turn(carefully, value, records))
    rates = {name: median(rate for rate, _ in figures) for name, figures in turns.items()}
    micros = {name: median(cpu for _, cpu in figures) for name, figures in turns.items()}
    return {
        "record_bytes": len(value),
        "records_per_second": {name: round(rate) for name, rate in rates.items()},
        "cpu_microseconds_per_record": {name: round(cpu, 1) for name, cpu in micros.items()},
        "ratio_to_bare_producer": round(rates["publisher"] / rates["bare"], 2),
    }


def one_measure(random: Random) -> str:
    values = [{"sensorName": f"Sensor number {n} of thirty", "sensorValue": random.random() * 1e3} for n in range(30)]
    return json.dumps({"timestamp": 1_700_000_000, "sensorValues": values}, separators=(",", ":"))


async def one_turn(publish: Publish, value: bytes, records: int) -> tuple[float, float]:
    """Records per second, and CPU microseconds per record."""

    async def one_caller(number: int) -> None:
        for turn in range(records // CALLS_AT_A_TIME):
            await publish(Record(topics.RAW, b"%d" % (number * 131 + turn), value, HEADERS))

    started, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(one_caller, range(CALLS_AT_A_TIME)))
    return records / (time.perf_counter() - started), (time.process_time() - cpu) / records * 1e6


if __name__ == "__main__":
    main()
