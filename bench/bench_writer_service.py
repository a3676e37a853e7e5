"""The writer as a process, on a backlog and at half load: values per second, memory, time until a value is queryable.

    python bench/bench_writer_service.py [--megabytes N] [--seconds S]

Starts a Kafka and a PostgreSQL of its own. Backlogs of every shape, the smallest records and the largest that
ingest-api takes among them. The latency is that of a record from Kafka's acknowledgement on the validated topic until
it stands in SQL, at half the rate of the usual backlog (bench_queryable.py: the same from ingest-api's 201).
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from metering_common.contract import topics
from metering_common.contract.codec import encode
from metering_common.contract.messages import MAX_RAW_TEXT, MAX_REFUSAL_GROUPS, RawValue, Refusal, Validated
from metering_common.contract.metadata import encode_headers
from metering_common.contract.topics import VALIDATED
from metering_common.kafka import clients as kafka_client
from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_common.service.settings import KafkaSettings
from metering_local import kafka as local_kafka
from metering_local import postgres as local_postgres
from metering_local.testing import kafka_settings, make_database, make_test_owner
from metering_writer.settings import WriterSettings
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, headers, record, rows, validated
from metering_writer.testing_flavours import migrate
from metering_writer.testing_processes import WriterProcess, writer_processes

SENSORS = tuple(range(1, 31))
PARTITIONS = 12
MEMORY_BOUND_MB = 200
LATENCY_BOUND_SECONDS = 1.0
MOST_RECORDS = 20_000
_devices = itertools.count(1)


def measures(count: int) -> Validated:
    times = [MEASURED_AT + 60 * number for number in range(count)]
    return validated(rows(SENSORS, times, [230.25 + number % 97 for number in range(count * len(SENSORS))]))


def refusals(groups: int, samples: int) -> Validated:
    """As many as a validated record holds, each with all its raw values at their greatest length."""
    raw = [RawValue(timestamp="1773241500", value="9" * MAX_RAW_TEXT)] * samples
    names = (f"{number:0{MAX_RAW_TEXT}}" for number in range(groups))
    return validated(refusals=[Refusal(rule="RV-03", name=name, count=samples, samples=raw) for name in names])


USUAL = "100 measures of 30 sensors"
SHAPES: dict[str, Validated] = {
    "1 measure of 30 sensors": measures(1),
    USUAL: measures(100),
    "26,000 values, as many as 1 MiB can say": validated(
        rows((1,), [MEASURED_AT + number for number in range(26_000)], [number + 0.123 for number in range(26_000)])
    ),
    f"nothing but refusals, {MAX_REFUSAL_GROUPS} of them": refusals(MAX_REFUSAL_GROUPS, samples=3),
}


class Backlog(NamedTuple):
    """One shape, stored from the first record to the last."""

    records: int
    values_per_second: float
    megabytes_per_second: float
    peak_memory_mb: float


class Load:
    """Puts validated records on the topic, each of a device of its own."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._producer = kafka_client.producer(settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        await self._producer.start()
        try:
            yield self
        finally:
            await self._producer.stop()

    async def send(self, value: bytes, count: int) -> list[tuple[int, float]]:
        """Devices, and when each one's record was acknowledged."""
        return await asyncio.gather(*(self._send(value, next(_devices)) for _ in range(count)))

    async def _send(self, value: bytes, device: int) -> tuple[int, float]:
        about = encode_headers(record(headers(device, RECEIVED_AT_MS + device), validated()).headers)
        await self._producer.send_and_wait(VALIDATED, value, partition=device % PARTITIONS, headers=about)
        return device, time.perf_counter()


async def backlog(pool: TimedPool, writer: WriterProcess, load: Load, shape: Validated, megabytes: int) -> Backlog:
    """The writer is started when all of it is there, and stays."""
    value = encode(shape)
    before = await _stored(pool)
    records = min(MOST_RECORDS, max(50, megabytes * 2**20 // len(value)))
    for _ in range(records // 50):
        await load.send(value, 50)
    records = records // 50 * 50
    writer.start()
    await writer.started()
    started = time.perf_counter()
    peak = 0
    while await _stored(pool) < before + records:
        peak = max(peak, psutil.Process(writer.pid).memory_info().rss)
        await asyncio.sleep(0.05)
    seconds = time.perf_counter() - started
    return Backlog(
        records, records * shape.counts.accepted / seconds, records * len(value) / 2**20 / seconds, peak / 2**20
    )


async def _stored(pool: TimedPool) -> int:
    return int(await pool.fetchval("SELECT sum(next_offset) FROM consumer_offset") or 0)


async def latencies(pool: TimedPool, load: Load, values_per_second: float, seconds: float) -> list[float]:
    """How long each record took until it could be selected."""
    value, values = encode(SHAPES[USUAL]), SHAPES[USUAL].counts.accepted
    until = time.perf_counter() + seconds
    asked: list[asyncio.Task[float]] = []
    while time.perf_counter() < until:
        asked.append(asyncio.create_task(_one(pool, load, value)))
        await asyncio.sleep(values / values_per_second)
    return list(await asyncio.gather(*asked))


async def _one(pool: TimedPool, load: Load, value: bytes) -> float:
    ((device, acknowledged),) = await load.send(value, 1)
    while not await pool.fetchval("SELECT EXISTS (SELECT FROM measurement WHERE device_id = $1)", device):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return time.perf_counter() - acknowledged


async def run(megabytes: int, seconds: float, folder: Path, kafka: KafkaSettings, settings: WriterSettings) -> int:
    await topics.apply(kafka)
    async with (
        postgres.pool(settings.database_url, application_name="bench", max_size=20, acquire_timeout_seconds=30) as pool,
        Load(kafka).running() as load,
    ):
        with writer_processes(settings, folder, 1) as (writer,):
            stored: dict[str, Backlog] = {}
            for name, shape in SHAPES.items():
                stored[name] = await backlog(pool, writer, load, shape, megabytes)
                writer.terminate()
            writer.start()
            await writer.started()
            waited = sorted(await latencies(pool, load, stored[USUAL].values_per_second / 2, seconds))
    return report(stored, waited)


def report(stored: dict[str, Backlog], waited: Sequence[float]) -> int:
    """Prints the figures as JSON; exit status 1 when a bound does not hold."""
    p99 = statistics.quantiles(waited, n=100)[98]
    figures = {
        "backlogs": {name: {key: round(value) for key, value in one._asdict().items()} for name, one in stored.items()},
        "half_load_records": len(waited),
        "queryable_after_seconds": {"p50": round(statistics.median(waited), 3), "p99": round(p99, 3)},
        "bounds": {"peak_memory_mb": MEMORY_BOUND_MB, "p99": LATENCY_BOUND_SECONDS},
    }
    print(json.dumps(figures, indent=2))
    peak = max(one.peak_memory_mb for one in stored.values())
    return int(peak > MEMORY_BOUND_MB or p99 > LATENCY_BOUND_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=80, help="of validated records in each backlog")
    parser.add_argument("--seconds", type=float, default=15, help="of half load")
    asked = parser.parse_args()
    options = {"max_wal_size": "4GB", "shared_buffers": "512MB"}
    with (
        tempfile.TemporaryDirectory() as text,
        local_kafka.start(Path(text) / "kafka") as broker,
        local_postgres.start(Path(text) / "postgres", options=options) as server,
    ):
        make_test_owner(server)
        database = make_database(server)
        migrate(database.owner_dsn)
        kafka = kafka_settings(broker)
        settings = WriterSettings(
            database_url=database.dsn_for("storage_writer"), admin_host="127.0.0.1", admin_port=0, kafka=kafka
        )
        return asyncio.run(run(asked.megabytes, asked.seconds, Path(text), kafka, settings))


if __name__ == "__main__":
    raise SystemExit(main())
