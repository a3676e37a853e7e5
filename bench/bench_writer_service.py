"""The writer as a process, on a backlog and at half load: values per second, memory, time until a value is queryable.

    python bench/bench_writer_service.py [--records N] [--seconds S]

Starts a Kafka and a PostgreSQL of its own. The latency is that of a record from Kafka's acknowledgement on the judged
topic until it stands in SQL, at half the rate that the backlog was stored with; door and validator come on top.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from metering_common import kafka as kafka_client
from metering_common import postgres, topics
from metering_common.codec import encode
from metering_common.headers import encode_headers
from metering_common.postgres import TimedPool
from metering_common.settings import KafkaSettings
from metering_common.topics import JUDGED
from metering_local import kafka as local_kafka
from metering_local import postgres as local_postgres
from metering_local.testing import kafka_settings, make_database, make_test_owner
from metering_writer.settings import WriterSettings
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, headers, judged, record, rows
from metering_writer.testing_flavours import migrate
from metering_writer.testing_processes import WriterProcess, writer_processes

SENSORS = tuple(range(1, 31))
MEASURES = 100
VALUES = MEASURES * len(SENSORS)
PARTITIONS = 12
MEMORY_BOUND_MB = 200
LATENCY_BOUND_SECONDS = 1.0
_devices = itertools.count(1)
_times = [MEASURED_AT + 60 * number for number in range(MEASURES)]
_content = encode(judged(rows(SENSORS, _times, [230.0 + number % 97 for number in range(VALUES)])))


class Load:
    """Puts judged records of 3,000 values on the topic, each of a device of its own."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._producer = kafka_client.producer(settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        await self._producer.start()
        try:
            yield self
        finally:
            await self._producer.stop()

    async def send(self, count: int) -> list[tuple[int, float]]:
        """Devices, and when each one's record was acknowledged."""
        return await asyncio.gather(*(self._send(next(_devices)) for _ in range(count)))

    async def _send(self, device: int) -> tuple[int, float]:
        about = encode_headers(record(headers(device, RECEIVED_AT_MS + device), judged()).headers)
        await self._producer.send_and_wait(JUDGED, _content, partition=device % PARTITIONS, headers=about)
        return device, time.perf_counter()


async def backlog(pool: TimedPool, writer: WriterProcess, load: Load, records: int) -> tuple[float, float]:
    """Values per second from start to end of storing, and the peak of resident memory in MB."""
    for _ in range(records // 50):
        await load.send(50)
    writer.start()
    await writer.started()
    started = time.perf_counter()
    peak = 0
    while await pool.fetchval("SELECT count(*) FROM ingest_batch") < records:
        peak = max(peak, psutil.Process(writer.pid).memory_info().rss)
        await asyncio.sleep(0.05)
    return records * VALUES / (time.perf_counter() - started), peak / 2**20


async def latencies(pool: TimedPool, load: Load, values_per_second: float, seconds: float) -> list[float]:
    """How long each record took until it could be selected."""
    every = VALUES / values_per_second
    until = time.perf_counter() + seconds
    asked: list[asyncio.Task[float]] = []
    while time.perf_counter() < until:
        asked.append(asyncio.create_task(_one(pool, load)))
        await asyncio.sleep(every)
    return list(await asyncio.gather(*asked))


async def _one(pool: TimedPool, load: Load) -> float:
    ((device, acknowledged),) = await load.send(1)
    while not await pool.fetchval("SELECT EXISTS (SELECT FROM measurement WHERE device_id = $1)", device):  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return time.perf_counter() - acknowledged


async def run(records: int, seconds: float, folder: Path, kafka: KafkaSettings, settings: WriterSettings) -> int:
    await topics.apply(kafka)
    async with (
        postgres.pool(settings.database_url, application_name="bench", max_size=20, acquire_timeout_seconds=30) as pool,
        Load(kafka).running() as load,
    ):
        with writer_processes(settings, folder, 1) as (writer,):
            rate, peak = await backlog(pool, writer, load, records)
            waited = sorted(await latencies(pool, load, rate / 2, seconds))
    p99 = statistics.quantiles(waited, n=100)[98]
    figures = {
        "values_per_second": round(rate),
        "peak_memory_mb": round(peak),
        "half_load_records": len(waited),
        "queryable_after_seconds": {"p50": round(statistics.median(waited), 3), "p99": round(p99, 3)},
        "bounds": {"peak_memory_mb": MEMORY_BOUND_MB, "p99": LATENCY_BOUND_SECONDS},
    }
    print(json.dumps(figures, indent=2))
    return int(peak > MEMORY_BOUND_MB or p99 > LATENCY_BOUND_SECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=800, help="of 3,000 values each, in the backlog")
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
        return asyncio.run(run(asked.records, asked.seconds, Path(text), kafka, settings))


if __name__ == "__main__":
    raise SystemExit(main())
