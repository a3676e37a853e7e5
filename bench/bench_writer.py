"""How fast the writer stores, as ratios against what the same PostgreSQL can do with the same rows in the same table.

    python bench/bench_writer.py [--database-url URL] [--batches N]

Without a URL it starts a PostgreSQL of its own. With one (an empty database, its owner's URL) it uses that server, so
the same bench runs against TimescaleDB. Every turn runs the reference and the writer one after the other, each into
devices of its own; the ratio is that of the best times, since whatever else the machine does only adds to them. The
writer's time includes building its rows with numpy, the probe, ledger, offsets and commit; the reference's is nothing
but COPY (or staging and upsert) of ready bytes and commit.
"""

import argparse
import asyncio
import itertools
import json
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from pydantic import SecretStr

from metering_common import postgres
from metering_common.codec import decode_judged, encode
from metering_common.postgres import TimedPool
from metering_common.topics import JUDGED
from metering_local import postgres as local_postgres
from metering_local.postgres import SUPERUSER
from metering_writer.adapters.store import PostgresStore
from metering_writer.domain.columns import COPY_COLUMNS, COPY_HEADER, COPY_TRAILER, blocks_of, copy_blocks
from metering_writer.domain.records import Record
from metering_writer.flavour import ask_flavour
from metering_writer.queries import sql
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, headers, judged, record, rows
from metering_writer.testing_flavours import migrate

SENSORS = tuple(range(1, 31))
MEASURES = 100
RECORDS = 50
ROWS = RECORDS * MEASURES * len(SENSORS)
BOUNDS = {"new": 0.85, "duplicates": 0.85, "one_percent": 0.75}
CREATE = "CREATE DATABASE bench; ALTER DATABASE bench OWNER TO storage_owner;"

_devices = itertools.count(1)
_offsets = itertools.count(0)
_received = itertools.count(RECEIVED_AT_MS)


class Spent(NamedTuple):
    """By one way of storing one batch."""

    seconds: float
    cpu_seconds: float
    """Of client and server together: what a busy machine does not change much."""


def batch(devices: Sequence[int], *, shifted_by: float = 0) -> list[Record]:
    """150,000 values: 100 measures of 30 sensors of each of 50 devices, received just now."""
    times = [MEASURED_AT + 60 * number for number in range(MEASURES)]
    values = [230.0 + number % 97 + shifted_by for number in range(MEASURES * len(SENSORS))]
    content = judged(rows(SENSORS, times, values))
    return [record(headers(device, next(_received)), content, next(_offsets)) for device in devices]


class Bench:
    """One server, two pools: the writer's and, with the same role, the reference's."""

    def __init__(self, pool: TimedPool, server_pid: int | None) -> None:
        self._pool = pool
        self._server_pid = server_pid
        self._store = PostgresStore(pool, lock_patience_seconds=5, owns=lambda _: True)

    async def writer(self, records: Sequence[Record]) -> None:
        await self._store.store(records)

    async def bare_copy(self, pieces: Sequence[bytes]) -> None:
        async with self._pool.acquire() as session, session.transaction():
            await session.copy_to_table("measurement", source=_stream(pieces), columns=COPY_COLUMNS, format="binary")

    async def staged_upsert(self, pieces: Sequence[bytes]) -> None:
        async with self._pool.acquire() as session, session.transaction():
            await session.execute(sql.make_staging)
            await session.copy_to_table(
                "measurement_staging", source=_stream(pieces), columns=COPY_COLUMNS, format="binary"
            )
            await session.execute(sql.upsert_staged)

    async def skip_reference_offsets(self) -> None:
        """Records of the reference have offsets too: the writer's next batch starts after them."""
        await self._pool.execute(sql.set_offset, JUDGED, 0, next(_offsets) + 1)

    def _cpu_seconds(self) -> dict[int, float]:
        """Of this process and of each of the server's, where the server is our own."""
        processes = [psutil.Process()]
        if self._server_pid is not None:
            processes += psutil.Process(self._server_pid).children(recursive=True)
        return {process.pid: sum(process.cpu_times()[:2]) for process in processes if process.is_running()}

    async def turn(self) -> dict[str, Spent]:
        """What each way takes, once."""
        spent: dict[str, Spent] = {}

        async def timed(name: str, work: Awaitable[None]) -> None:
            started, cpu = time.perf_counter(), self._cpu_seconds()
            await work
            seconds, after = time.perf_counter() - started, self._cpu_seconds()
            spent[name] = Spent(seconds, sum(after[pid] - cpu[pid] for pid in after.keys() & cpu.keys()))

        reference = await self._known_devices(MEASURED_AT - 60)
        ours = await self._known_devices(MEASURED_AT - 60)
        await timed("bare COPY", self.bare_copy(copy_blocks(blocks_of(batch(reference)))))
        await self.skip_reference_offsets()
        await timed("writer, new", self.writer(batch(ours)))
        await timed("staging and upsert", self.staged_upsert(copy_blocks(blocks_of(batch(reference, shifted_by=1)))))
        await self.skip_reference_offsets()
        await timed("writer, duplicates", self.writer(batch(ours, shifted_by=1)))
        mixed = await self._known_devices(MEASURED_AT)  # the first of each device's hundred measures is there
        await timed("writer, 1 % duplicates", self.writer(batch(mixed)))
        return spent

    async def _known_devices(self, measured_at: int) -> list[int]:
        """Devices that have one measure already, as meters have: new rows go into the middle of the index."""
        devices = list(itertools.islice(_devices, RECORDS))
        first = judged(rows(SENSORS, [measured_at], [1.0] * len(SENSORS)))
        await self.writer([record(headers(device, next(_received)), first, next(_offsets)) for device in devices])
        return devices


async def _stream(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    yield COPY_HEADER
    for piece in pieces:
        yield piece
    yield COPY_TRAILER


async def run(dsn: str, batches: int, server_pid: int | None = None) -> int:
    async with postgres.pool(SecretStr(dsn), application_name="bench-writer", statement_timeout_seconds=300) as pool:
        async with pool.acquire() as session:
            flavour = await ask_flavour(session)
            version = await session.fetchval("SELECT version()")
        await pool.execute(sql.add_offset, JUDGED, 0, 0)
        bench = Bench(pool, server_pid)
        await bench.turn()  # the first turn makes files, caches and prepared statements
        turns = [await bench.turn() for _ in range(batches)]
    return report(flavour, str(version), turns)


def ratios_of(best: dict[str, float]) -> dict[str, float]:
    return {
        "new": best["bare COPY"] / best["writer, new"],
        "duplicates": best["staging and upsert"] / best["writer, duplicates"],
        "one_percent": best["writer, new"] / best["writer, 1 % duplicates"],
    }


def report(flavour: str, version: str, turns: Sequence[dict[str, Spent]]) -> int:
    """Prints the figures as JSON; exit status 1 when a bound does not hold."""
    best = {name: min(turn[name].seconds for turn in turns) for name in turns[0]}
    cpu = {name: min(turn[name].cpu_seconds for turn in turns) for name in turns[0]}
    ratios = ratios_of(best)
    figures = {
        "flavour": flavour,
        "server": version.split(" on ", maxsplit=1)[0],
        "rows_per_batch": ROWS,
        "batches": len(turns),
        "rows_per_second": {name: round(ROWS / seconds) for name, seconds in best.items()},
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "bounds": BOUNDS,
        "cpu_seconds_per_million": {name: round(seconds / ROWS * 1e6, 2) for name, seconds in cpu.items()},
        "cpu_ratios": {name: round(ratio, 3) for name, ratio in ratios_of(cpu).items()},
        "decode_values_per_second": round(decode_rate()),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(figures, indent=2))
    return int(any(ratios[name] < bound for name, bound in BOUNDS.items()))


def decode_rate() -> float:
    """Values per second of the one step before the store that costs: reading the judged record's JSON."""
    values = [encode(one.judged) for one in batch(range(RECORDS))]
    started = time.perf_counter()
    for value in values:
        decode_judged(value)
    return ROWS / (time.perf_counter() - started)


@contextmanager
def own_server() -> Iterator[tuple[str, int | None]]:
    """As durable as the platform's, in a temporary folder."""
    options = {"max_wal_size": "4GB", "shared_buffers": "512MB"}
    with tempfile.TemporaryDirectory() as folder, local_postgres.start(Path(folder), options=options) as server:
        server.sql(CREATE)
        yield server.dsn(SUPERUSER, "bench"), server.pid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", help="the owner's URL of an empty database, where the roles exist")
    parser.add_argument("--batches", type=int, default=9)
    asked = parser.parse_args()
    if asked.database_url:
        migrate(SecretStr(asked.database_url))
        return asyncio.run(run(asked.database_url, asked.batches))
    with own_server() as (dsn, server_pid):
        migrate(SecretStr(dsn))
        return asyncio.run(run(dsn, asked.batches, server_pid))


if __name__ == "__main__":
    raise SystemExit(main())
