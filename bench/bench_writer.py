"""How fast the writer stores, as ratios against what the same PostgreSQL can do with the same rows in the same table.

    python bench/bench_writer.py [--database-url URL] [--turns N]

Without a URL it starts a PostgreSQL of its own. With one (an empty database, its owner's URL) it uses that server, so
the same bench runs against TimescaleDB. Every turn runs the two ways of each ratio one directly after the other, each
into devices of its own, in an order that changes with every turn; the median of the turns' ratios counts, so that what
else the machine and its disk do falls on both or on a few turns only. The writer's time includes building its rows with
numpy, the probe, ledger, offsets and commit; the reference's is nothing but COPY (or staging and upsert) of ready bytes
and commit.
"""

import argparse
import asyncio
import itertools
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
from pydantic import SecretStr

from metering_common.contract.messages import decode_validated, encode_validated
from metering_common.contract.topics import VALIDATED
from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_local import postgres as local_postgres
from metering_local.postgres import SUPERUSER
from metering_writer.adapters.copying import copy_binary
from metering_writer.adapters.store import PostgresStore
from metering_writer.domain.columns import COPY_COLUMNS, blocks_of, copy_new
from metering_writer.domain.entries import ValidatedEntry
from metering_writer.flavour import ask_flavour
from metering_writer.queries import sql
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, entry, metadata, rows, validated
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


class Pair(NamedTuple):
    """Both ways of a ratio, in one turn."""

    reference: Spent
    ours: Spent

    @property
    def ratio(self) -> float:
        return self.reference.seconds / self.ours.seconds

    @property
    def cpu_ratio(self) -> float:
        return self.reference.cpu_seconds / self.ours.cpu_seconds


Ready = Callable[[], Awaitable[object]]
"""Makes ready what is to be stored, and gives the storing of it."""


def batch(devices: Sequence[int], offsets: Iterator[int], *, shifted_by: float = 0) -> list[ValidatedEntry]:
    """150,000 values: 100 measures of 30 sensors of each of 50 devices, received just now."""
    times = [MEASURED_AT + 60 * number for number in range(MEASURES)]
    values = [230.0 + number % 97 + shifted_by for number in range(MEASURES * len(SENSORS))]
    content = validated(rows(SENSORS, times, values))
    return [entry(metadata(device, next(_received)), content, next(offsets)) for device in devices]


class Bench:
    """One server and one pool: the writer and the reference come with the same role."""

    def __init__(self, pool: TimedPool, server_pid: int | None, *, hypertables: bool) -> None:
        self._pool = pool
        self._server_pid = server_pid
        self._store = PostgresStore(pool, lock_wait_seconds=5, owns=lambda _: True, hypertables=hypertables)

    async def turn(self, number: int) -> dict[str, Pair]:
        """One pair of each ratio."""
        reference, ours, all_new, mixed = [await self._devices() for _ in range(4)]
        await self._known(mixed, MEASURED_AT)  # the first of each device's hundred measures is there
        return {
            "new": await self._pair(number, partial(self._copy, reference), partial(self._writer, ours)),
            "duplicates": await self._pair(
                number, partial(self._staged_upsert, reference), partial(self._writer, ours, shifted_by=1)
            ),
            "one_percent": await self._pair(number, partial(self._writer, all_new), partial(self._writer, mixed)),
        }

    async def _pair(self, number: int, reference: Ready, ours: Ready) -> Pair:
        """The second finds a longer index and warmer caches: every other turn it is the other one."""
        if number % 2:
            second = await self._timed(ours)
            return Pair(await self._timed(reference), second)
        first = await self._timed(reference)
        return Pair(first, await self._timed(ours))

    async def _timed(self, ready: Ready) -> Spent:
        work = ready()
        started, cpu = time.perf_counter(), self._cpu_seconds()
        await work
        seconds, after = time.perf_counter() - started, self._cpu_seconds()
        return Spent(seconds, sum(after[pid] - cpu[pid] for pid in after.keys() & cpu.keys()))

    def _cpu_seconds(self) -> dict[int, float]:
        """Of this process and of each of the server's, where the server is our own."""
        processes = [psutil.Process()]
        if self._server_pid is not None:
            processes += psutil.Process(self._server_pid).children(recursive=True)
        return {process.pid: sum(process.cpu_times()[:2]) for process in processes if process.is_running()}

    def _writer(self, devices: Sequence[int], shifted_by: float = 0) -> Awaitable[object]:
        return self._store.store(batch(devices, _offsets, shifted_by=shifted_by))

    def _copy(self, devices: Sequence[int]) -> Awaitable[object]:
        return self._bare_copy(copy_new(blocks_of(batch(devices, itertools.count())), None))

    def _staged_upsert(self, devices: Sequence[int]) -> Awaitable[object]:
        return self._bare_upsert(copy_new(blocks_of(batch(devices, itertools.count(), shifted_by=1)), None))

    async def _bare_copy(self, ready: bytes) -> None:
        async with self._pool.acquire() as session, session.transaction():
            await copy_binary(session, "measurement", COPY_COLUMNS, [ready])

    async def _bare_upsert(self, ready: bytes) -> None:
        async with self._pool.acquire() as session, session.transaction():
            await session.execute(sql.make_staging)
            await copy_binary(session, "measurement_staging", COPY_COLUMNS, [ready])
            await session.execute(sql.upsert_staged)

    async def _devices(self) -> list[int]:
        """Devices that have one measure already, as meters have: new rows go into the middle of the index."""
        devices = list(itertools.islice(_devices, RECORDS))
        await self._known(devices, MEASURED_AT - 60)
        return devices

    async def _known(self, devices: Sequence[int], measured_at: int) -> None:
        first = validated(rows(SENSORS, [measured_at], [1.0] * len(SENSORS)))
        await self._store.store([entry(metadata(device, next(_received)), first, next(_offsets)) for device in devices])


async def run(dsn: str, turns_asked: int, server_pid: int | None = None) -> int:
    async with postgres.pool(SecretStr(dsn), application_name="bench-writer", statement_timeout_seconds=300) as pool:
        async with pool.acquire() as session:
            flavour = await ask_flavour(session)
            version = await session.fetchval("SELECT version()")
        await pool.execute(sql.add_offset, VALIDATED, 0, 0)
        bench = Bench(pool, server_pid, hypertables=flavour != "plain")
        await bench.turn(0)  # the first turn makes files, caches and prepared statements
        turns = [await bench.turn(number) for number in range(turns_asked)]
    return report(flavour, str(version), turns)


def report(flavour: str, version: str, turns: Sequence[dict[str, Pair]]) -> int:
    """Prints the figures as JSON; exit status 1 when a bound does not hold."""
    pairs = {name: [turn[name] for turn in turns] for name in BOUNDS}
    ratios = {name: statistics.median(pair.ratio for pair in those) for name, those in pairs.items()}
    figures = {
        "flavour": flavour,
        "server": version.split(" on ", maxsplit=1)[0],
        "rows_per_batch": ROWS,
        "turns": len(turns),
        "rows_per_second": {
            name: {
                "reference": round(ROWS / statistics.median(pair.reference.seconds for pair in those)),
                "ours": round(ROWS / statistics.median(pair.ours.seconds for pair in those)),
            }
            for name, those in pairs.items()
        },
        "ratios": {name: round(ratio, 3) for name, ratio in ratios.items()},
        "bounds": BOUNDS,
        "quartiles": {name: quartiles([pair.ratio for pair in those]) for name, those in pairs.items()},
        "cpu_ratios": {
            name: round(statistics.median(pair.cpu_ratio for pair in those), 3) for name, those in pairs.items()
        },
        "decode_values_per_second": round(decode_rate()),
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(figures, indent=2))
    return int(any(ratios[name] < bound for name, bound in BOUNDS.items()))


def quartiles(ratios: Sequence[float]) -> list[float]:
    """How far the turns agree."""
    return [round(ratio, 3) for ratio in statistics.quantiles(ratios, n=4)]


def decode_rate() -> float:
    """Values per second of the one step before the store that costs: reading the validated entry's JSON."""
    values = [encode_validated(one.validated) for one in batch(range(RECORDS), itertools.count())]
    started = time.perf_counter()
    for value in values:
        decode_validated(value)
    return ROWS / (time.perf_counter() - started)


@contextmanager
def own_server() -> Iterator[tuple[str, int | None]]:
    """As durable as the platform's; what would set in at a moment of its own (checkpoint, vacuum) waits for the end."""
    options = {"max_wal_size": "32GB", "checkpoint_timeout": "1h", "shared_buffers": "2GB", "autovacuum": "off"}
    with tempfile.TemporaryDirectory() as folder, local_postgres.start(Path(folder), options=options) as server:
        server.sql(CREATE)
        yield server.dsn(SUPERUSER, "bench"), server.pid


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", help="the owner's URL of an empty database, where the roles exist")
    parser.add_argument("--turns", type=int, default=15)
    asked = parser.parse_args()
    if asked.database_url:
        migrate(SecretStr(asked.database_url))
        return asyncio.run(run(asked.database_url, asked.turns))
    with own_server() as (dsn, server_pid):
        migrate(SecretStr(dsn))
        return asyncio.run(run(dsn, asked.turns, server_pid))


if __name__ == "__main__":
    raise SystemExit(main())
