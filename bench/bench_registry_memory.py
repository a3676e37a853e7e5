"""How much memory a replica of a million devices takes, and how long it reads: the aim is 400 MB for the whole process.

    python bench/bench_registry_memory.py [--devices 1000000]

Starts a Kafka of its own, publishes the devices in transactions as auth does, and reads them in fresh processes: once
with a bare consumer that throws them away (the limit for the time), once with `RegistryReplica` (docs/architecture.md,
*Growing*). Prints JSON.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from aiokafka import TopicPartition

from metering_common.contract import topics
from metering_common.kafka import clients as kafka
from metering_common.registry.documents import (
    Device,
    Gateway,
    Meta,
    Provider,
    RegistryDocument,
    document_key,
    encode_document,
)
from metering_common.registry.replica import RegistryReplica
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_local import kafka as local_kafka

AIM_MB = 400
DEVICES_PER_PROVIDER = 10_000
DEVICES_PER_GATEWAY = 100
DEVICES_PER_TRANSACTION = 10_000
SENSOR_LISTS = [tuple(range(1, 31)), tuple(range(1, 16)), (1, 2, 3, 7)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--step", choices=["fill", "bare", "replica"], help="one process of the bench")
    parser.add_argument("--bootstrap")
    options = parser.parse_args()
    if options.step is None:
        print(json.dumps(whole(options.devices), indent=2))
        return
    settings = KafkaSettings(bootstrap_servers=options.bootstrap, environment="laptop")
    steps = {"fill": fill(settings, options.devices), "bare": bare(settings), "replica": replica(settings)}
    step = steps.pop(options.step)
    for other in steps.values():
        other.close()
    print(json.dumps(asyncio.run(step)))


def whole(devices: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, local_kafka.start(Path(folder)) as server:

        def run(step: str) -> dict[str, Any]:
            command = [sys.executable, __file__, "--step", step, "--bootstrap", server.bootstrap]
            done = subprocess.run([*command, "--devices", str(devices)], check=True, stdout=subprocess.PIPE, text=True)
            return dict(json.loads(done.stdout.splitlines()[-1]))

        run("fill")
        limit, measured = run("bare"), run("replica")
    return {
        **measured,
        "bare_consumer": limit,
        "time_ratio_to_bare_consumer": round(measured["seconds"] / limit["seconds"], 2),
        "bytes_per_device": round((measured["process_mb"] - limit["process_mb"]) * 1e6 / devices),
        "aim_mb": AIM_MB,
        "holds": measured["process_mb"] <= AIM_MB,
    }


async def fill(settings: KafkaSettings, devices: int) -> dict[str, Any]:
    await topics.apply(settings)
    async with kafka.producer(settings, transactional_id="bench") as producer:
        for first in range(0, devices, DEVICES_PER_TRANSACTION):
            async with producer.transaction():
                for document in documents(range(first, min(devices, first + DEVICES_PER_TRANSACTION))):
                    key, value = document_key(document).encode(), encode_document(document)
                    await producer.send(topics.REGISTRY, value, key)
    return {}


def documents(numbers: range) -> Iterator[RegistryDocument]:
    if numbers.start == 0:
        yield Meta(epoch="bench", created_at=0)
    for number in numbers:
        provider = 1_000 + number // DEVICES_PER_PROVIDER
        if number % DEVICES_PER_PROVIDER == 0:
            yield Provider(id=provider, name=f"provider {provider}")
        if number % DEVICES_PER_GATEWAY == 0:
            yield Gateway(id=number, provider=provider, name=f"gateway {number}")
        yield Device(
            id=number,
            provider=provider,
            number=f"CL-{number:010d}",
            sensors=SENSOR_LISTS[number % len(SENSOR_LISTS)],
            interval_seconds=900,
        )


async def bare(settings: KafkaSettings) -> dict[str, Any]:
    started = time.perf_counter()
    async with kafka.consumer(settings, topics.REGISTRY, max_partition_fetch_bytes=kafka.MAX_BATCH_BYTES) as consumer:
        partition = TopicPartition(topics.REGISTRY, 0)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            await consumer.getmany(partition, timeout_ms=100, max_records=2_000)
    return figures(started)


async def replica(settings: KafkaSettings) -> dict[str, Any]:
    started = time.perf_counter()
    async with RegistryReplica.open(settings, SystemClock()) as following:
        await following.wait_ready()
        return {"devices": len(following.registry.devices), **figures(started)}


def figures(started: float) -> dict[str, Any]:
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "process_mb": round(psutil.Process().memory_info().rss / 1e6),
    }


if __name__ == "__main__":
    main()
