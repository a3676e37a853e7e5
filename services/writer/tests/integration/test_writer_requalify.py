"""What was accepted and is wrong is righted: today's ranges and fault values are applied to what is stored."""

import asyncio
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from metering_common.contract.topics import VALIDATED
from metering_common.postgres.pool import TimedPool
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_local.testing import FreshDatabase
from metering_writer import cli
from metering_writer.adapters.requalifying import Requalifier, find_range
from metering_writer.adapters.store import PostgresStore
from metering_writer.queries import sql
from metering_writer.settings import ToolSettings
from metering_writer.testing import MEASURED_AT, RECEIVED_AT_MS, headers, record, rows, until, validated
from metering_writer.testing_flavours import Storage, WasmTimescale
from metering_writer.testing_wasm import WasmPool

DAY_S = 86_400
START = MEASURED_AT // DAY_S * DAY_S
SENSOR = 4
DICTIONARY = f"""
    INSERT INTO provider (id, name, active) VALUES (1, 'Norte', true) ON CONFLICT DO NOTHING;
    INSERT INTO device (id, provider_id, number, zone, sensors, active)
        VALUES (29, 1, 'house', 'UTC', '{{4}}', true) ON CONFLICT DO NOTHING;
    INSERT INTO sensor (id, position, name, alias, unit, kind, minimum, maximum, faults)
        VALUES ({SENSOR}, 1, 'Temperatura', 'TEMP', '°C', 'instantaneous', -50, 100, '[[192, 192], [null, -127]]')
        ON CONFLICT DO NOTHING;
"""


class Command:
    """`metering-writer requalify` of device 29, which needs no Kafka."""

    def __init__(self, storage: FreshDatabase) -> None:
        nobody = KafkaSettings(bootstrap_servers="127.0.0.1:1")
        self._settings = ToolSettings(database_url=storage.dsn_for("storage_writer"), kafka=nobody)
        self.environment = os.environ | {
            "WRITER_DATABASE_URL": self._settings.database_url.get_secret_value(),
            "KAFKA_BOOTSTRAP_SERVERS": nobody.bootstrap_servers,
        }

    async def __call__(self, *more: str, days: int = 2, sensor: str = "TEMP", device: int = 29) -> tuple[int, str]:
        asked = cli.parser().parse_args(arguments(*more, days=days, sensor=sensor, device=device))
        out = io.StringIO()
        return await asked.handle(self._settings, asked, out), out.getvalue()


def arguments(*more: str, days: int = 2, sensor: str = "TEMP", device: int = 29) -> list[str]:
    since, upto = (datetime.fromtimestamp(START + day * DAY_S, UTC).isoformat() for day in (0, days))
    return ["requalify", "--device", str(device), "--sensor", sensor, "--from", since, "--to", upto, *more]


@pytest.fixture
async def command(storage: FreshDatabase) -> Command:
    storage.sql(DICTIONARY)
    return Command(storage)


@pytest.fixture
async def store(pool: TimedPool, new_store: Callable[..., PostgresStore]) -> PostgresStore:
    await pool.execute(sql.add_offset, VALIDATED, 0, 0)
    return new_store(lock_wait_seconds=1, owns=lambda _: True)


async def stored(pool: TimedPool) -> list[tuple[float, int]]:
    found = await pool.fetch("SELECT value, quality FROM measurement ORDER BY ts, sensor_id")
    return [(row["value"], row["quality"]) for row in found]


async def test_a_dry_run_counts_and_changes_nothing(command: Command, store: PostgresStore, pool: TimedPool) -> None:
    times = (START, START + 60, START + DAY_S, START + 2 * DAY_S)
    await store.store([record(headers(), validated(rows((SENSOR,), times, (192.0, 20.0, -300.0, 192.0))))])
    status, text = await command()
    assert (status, text.splitlines()[1:]) == (
        0,
        ["2 values from quality 0 (good) to 3 (sensor fault)", "dry run: 2 values would change; add --apply"],
    )
    assert [quality for _, quality in await stored(pool)] == [0, 0, 0, 0]
    assert await pool.fetchval("SELECT count(*) FROM ingest_batch") == 1


async def test_what_today_calls_a_fault_becomes_one_and_rev_stays(
    command: Command, store: PostgresStore, pool: TimedPool
) -> None:
    about = headers()
    values = (192.0, 150.0, 20.0, -127.0)
    times = tuple(START + 60 * number for number in range(4))
    await store.store([record(about, validated(rows((SENSOR,), times, values, (0, 0, 1, 0))))])
    before = await pool.fetchval("SELECT clock_timestamp()")
    status, text = await command("--apply", "--json")
    assert (status, json.loads(text)["changes"]) == (
        0,
        [{"from": 0, "to": 1, "count": 1}, {"from": 0, "to": 3, "count": 2}, {"from": 1, "to": 0, "count": 1}],
    )
    assert await stored(pool) == [(192.0, 3), (150.0, 1), (20.0, 0), (-127.0, 3)]
    assert {row["rev"] for row in await pool.fetch("SELECT rev FROM measurement")} == {about.rev}
    was = await pool.fetch("SELECT quality FROM measurement_as_of($1) ORDER BY time", before)
    assert [row["quality"] for row in was] == [0, 0, 1, 0]
    assert (await command("--apply"))[1].splitlines()[1:] == [
        "0 values changed; what they were is in measurement_correction"
    ]


async def test_the_act_is_in_the_ledger_which_closes(command: Command, store: PostgresStore, pool: TimedPool) -> None:
    times = (START, START + DAY_S)
    await store.store([record(headers(), validated(rows((SENSOR,), times, (192.0, 192.0))))])
    await command("--apply")
    acts = await pool.fetch("SELECT * FROM ingest_batch WHERE status = 'requalified' ORDER BY item")
    assert [(row["source"], row["item"], row["items"], row["corrected"]) for row in acts] == [
        ("requalify", 0, 2, 1), ("requalify", 1, 2, 1)
    ]  # fmt: skip
    kept = await pool.fetch("SELECT batch_id, item, old_quality, new_quality, stood FROM measurement_correction")
    assert sorted((row["batch_id"], row["item"]) for row in kept) == [(row["batch_id"], row["item"]) for row in acts]
    assert {(row["old_quality"], row["new_quality"], row["stood"]) for row in kept} == {(0, 3, True)}
    notes = await pool.fetch(
        "SELECT since, received_at FROM register_note WHERE sensors = '{4}' AND received_at IS NULL"
    )
    assert [row["since"].timestamp() for row in notes] == [START, START + DAY_S]
    received = await pool.fetchval("SELECT last_received_at FROM device_status_at(now())")
    assert received == datetime.fromtimestamp(RECEIVED_AT_MS // 1_000, UTC) + timedelta(
        milliseconds=RECEIVED_AT_MS % 1_000
    )


async def test_a_doubtful_clock_stays_doubtful(command: Command, store: PostgresStore, pool: TimedPool) -> None:
    """Also where a fault hid it, as long as the ledger knows."""
    doubtful = replace(headers(), clock_doubtful=True)
    sure = headers(received_at_ms=RECEIVED_AT_MS + 1)
    block = rows((SENSOR,), (START, START + 60, START + 120), (20.0, 192.0, 30.0), (2, 2, 3))
    hidden = validated(rows((SENSOR,), (START + 180,), (30.0,), (3,)))
    await store.store([record(doubtful, validated(block)), record(sure, hidden, 1)])
    await command("--apply")
    assert await stored(pool) == [(20.0, 2), (192.0, 3), (30.0, 2), (30.0, 0)]


@pytest.mark.parametrize(
    ("more", "words"),
    [({"sensor": "Nadie"}, "no sensor 'Nadie'"), ({"device": 7}, "no device 7")],
)
async def test_what_is_not_there_is_said(command: Command, more: dict[str, Any], words: str) -> None:
    status, text = await command(**more)
    assert (status, words in text) == (1, True)


async def test_beside_a_writer_that_corrects_the_same_values(
    command: Command, store: PostgresStore, pool: TimedPool
) -> None:
    """Neither undoes the other's work: each quality fits its value, and the history has no hole."""
    times = tuple(START + 60 * number for number in range(300))

    def version(number: int) -> Any:
        values = [192.0 if (place + number) % 3 == 0 else float(number) for place in range(len(times))]
        about = headers(received_at_ms=RECEIVED_AT_MS + number)
        return record(about, validated(rows((SENSOR,), times, values)), number)

    await store.store([version(0)])

    async def correct() -> None:
        for number in range(1, 12):
            await store.store([version(number)])

    correcting = asyncio.create_task(correct())
    while not correcting.done():
        await command("--apply")
    await correcting
    await command("--apply")
    assert all(quality == (3 if value == 192.0 else 0) for value, quality in await stored(pool))
    broken = await pool.fetchval("""
        SELECT count(*) FROM (
            SELECT new_value, new_quality, new_rev, lead(old_value) OVER chain AS next_value,
                lead(old_quality) OVER chain AS next_quality, lead(old_rev) OVER chain AS next_rev
            FROM measurement_correction WHERE stood
            WINDOW chain AS (PARTITION BY ts ORDER BY corrected_at)
        ) AS link WHERE (new_value, new_quality, new_rev) <> (next_value, next_quality, next_rev)""")
    assert broken == 0


async def test_killed_at_any_moment_it_is_finished_by_the_next_run(
    command: Command, store: PostgresStore, pool: TimedPool
) -> None:
    days = 120
    times = tuple(START + DAY_S * day + 60 * number for day in range(days) for number in range(20))
    await store.store([record(headers(), validated(rows((SENSOR,), times, [192.0] * len(times))))])
    chance = random.Random(8)

    async def days_done() -> int:
        return int(await pool.fetchval("SELECT count(*) FROM ingest_batch"))

    for _ in range(3):
        before = await days_done()
        started = [str(Path(sys.executable).parent / "metering-writer"), *arguments("--apply", days=days)]
        with subprocess.Popen(started, env=command.environment, stdout=subprocess.DEVNULL) as process:  # noqa: ASYNC220  ends at once

            async def has_begun(before: int = before) -> bool:
                return await days_done() > before

            await until(has_begun)
            await asyncio.sleep(chance.uniform(0, 0.05))
            process.kill()
    assert await days_done() < days
    await command("--apply", days=days)
    assert {quality for _, quality in await stored(pool)} == {3}
    assert await pool.fetchval("SELECT count(*) FROM measurement_correction") == len(times)
    assert await pool.fetchval("SELECT sum(corrected) FROM ingest_batch") == len(times)


async def test_in_compressed_chunks_of_timescaledb(timescale_storage: WasmTimescale) -> None:
    storage = timescale_storage
    storage.execute("TRUNCATE measurement, measurement_correction, ingest_batch")
    storage.execute(DICTIONARY)
    storage.execute(
        "INSERT INTO measurement (ts, value, rev, device_id, sensor_id, quality)"
        f" SELECT to_timestamp({START} + 60 * n), CASE WHEN n % 10 = 0 THEN 192 ELSE n % 7 END, 1, 29, s, 0"
        f" FROM generate_series(0, 4319) AS n, generate_series({SENSOR}, {SENSOR + 4}) AS s"
    )
    storage.execute("SELECT compress_chunk(chunk) FROM show_chunks('measurement') AS chunk")
    pool = cast("Any", WasmPool(storage))
    since = datetime.fromtimestamp(START, UTC)
    chosen = await find_range(pool, 29, str(SENSOR), since, since + timedelta(days=2))
    requalifier = Requalifier(pool, SystemClock())
    assert await requalifier.count(chosen) == {(0, 3): 288}
    assert await requalifier.apply(chosen) == {(0, 3): 288}
    assert await requalifier.apply(chosen) == {}
    counts = "SELECT quality, sensor_id, count(*) FROM measurement WHERE value = 192 GROUP BY 1, 2 ORDER BY 1, 2"
    found = [tuple(row.values()) for row in storage.rows(counts)]
    assert found == [(0, SENSOR, 144), *[(0, SENSOR + n, 432) for n in range(1, 5)], (3, SENSOR, 288)]
    assert storage.rows("SELECT count(*) FROM measurement_correction") == [{"count": 288}]
    storage.execute("TRUNCATE measurement, measurement_correction, ingest_batch")


ENDS = st.one_of(st.none(), st.sampled_from([-300.0, -1.5, 0.0, 0.1, 192.0, 1e300]))
VALUES = st.one_of(st.sampled_from([-300.0, -1.5, 0.0, 0.1, 192.0, 1e300]), st.floats(-1e3, 1e3))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, minimum=ENDS, maximum=ENDS, faults=st.lists(st.tuples(ENDS, ENDS), max_size=3))
def test_a_quality_follows_from_ranges_and_faults(
    server_storage: Storage,
    value: float,
    minimum: float | None,
    maximum: float | None,
    faults: list[tuple[float | None, float | None]],
) -> None:
    """Closed ranges, open where an end is null; a fault outweighs an implausible value."""
    low, high = (minimum if minimum is not None else -1e308), (maximum if maximum is not None else 1e308)
    broken = any((a is None or a <= value) and (b is None or value <= b) for a, b in faults)
    wanted = 3 if broken else int(not low <= value <= high)
    ends = ["NULL" if end is None else f"{end!r}::float8" for end in (minimum, maximum)]
    query = f"SELECT quality_of({value!r}::float8, {', '.join(ends)}, '{json.dumps(faults)}') AS quality"
    assert server_storage.rows(query) == [{"quality": wanted}]
