"""How long people wait for figures, each beside reading the same rows bare in the same run.

    python bench/bench_figures.py [--devices N] [--turns N]

Plain PostgreSQL of its own, vacuumed, everything in memory. A year of one device at 15 minutes (8 sensors, 2 of them
registers) by day and by month; a month of N devices with 2 registers at 15 minutes by day; the status of 50,000
devices; and the look-up, at 200 midnights, of a register that is read once a day among 29 sensors that are read every
minute: with its steps stored as spans, and without. The median of the turns counts. Bare is count and sum of the same
readings by the table's key.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from pydantic import SecretStr

from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_local import postgres as local_postgres
from metering_local.postgres import SUPERUSER
from metering_writer.testing_flavours import migrate

CREATE = "CREATE DATABASE bench; ALTER DATABASE bench OWNER TO storage_owner;"
YEAR, FLEET, DAILY, UNKEPT, STATES = 1, 100_000, 2, 3, 500_000
BOUNDS = {"year_by_day": 0.3, "year_by_month": 0.1, "month_of_fleet_by_day": 5.0, "device_status": 1.0}
"""Seconds."""
ROW = "INSERT INTO measurement (ts, value, rev, device_id, sensor_id, quality)"

PREPARE = f"""
    INSERT INTO provider VALUES (1, 'bench', true);
    INSERT INTO sensor (id, position, name, unit, kind)
        SELECT id, id, 'sensor ' || id, 'kWh', CASE WHEN id <= 2 THEN 'accumulating' ELSE 'instantaneous' END
        FROM generate_series(1, 30) AS id;
    INSERT INTO device (id, provider_id, number, zone, interval_seconds, sensors, active)
        SELECT id, 1, id::text, 'America/Santiago', 900, '{{1,2}}', true
        FROM unnest(ARRAY[{YEAR}, {DAILY}] || ARRAY(SELECT {FLEET} + n FROM generate_series(1, $1) AS n)
            || ARRAY(SELECT {STATES} + n FROM generate_series(1, 50000) AS n)) AS id;
"""
READINGS = {
    "year": f"""{ROW} SELECT ts, (row_number() OVER (PARTITION BY sensor ORDER BY ts)) * 0.1, 1, {YEAR}, sensor, 0
        FROM generate_series('2025-01-01'::timestamptz, '2025-12-31 23:45', '15 minutes') AS ts,
            generate_series(1, 8) AS sensor ORDER BY ts, sensor""",
    "fleet": f"""{ROW} SELECT ts, extract(epoch FROM ts) / 9000, 1, {FLEET} + n, sensor, 0
        FROM generate_series(1, $1) AS n, generate_series('2025-03-01'::timestamptz, '2025-04-01', '15 minutes') AS ts,
            generate_series(1, 2) AS sensor""",
    "daily": f"""{ROW} SELECT ts, 1, 1, {DAILY}, sensor, 0
        FROM generate_series('2025-01-01'::timestamptz, '2025-03-01', '1 minute') AS ts,
            generate_series(2, 30) AS sensor
        UNION ALL SELECT ts, extract(epoch FROM ts), 1, {DAILY}, 1, 0
        FROM generate_series('2025-01-01 04:30'::timestamptz, '2025-03-01', '1 day') AS ts""",
    "unkept": f"""{ROW} SELECT ts, value, rev, {UNKEPT}, sensor_id, quality FROM measurement
        WHERE device_id = {DAILY}""",
    "states": f"""{ROW} SELECT now() - INTERVAL '1 minute', 1, 1, {STATES} + n, 1, 0
        FROM generate_series(1, 50000) AS n""",
}
KEPT = f"""
    INSERT INTO register SELECT device_id, sensor_id, min(ts), max(ts) FROM measurement
        WHERE sensor_id <= 2 GROUP BY 1, 2;
    INSERT INTO device_activity (device_id, first_at, last_at, sensors) SELECT device_id, min(ts), max(ts),
        array_agg(DISTINCT sensor_id) FROM measurement GROUP BY 1;
    INSERT INTO register_event
        SELECT ts, next_ts, value, next_value, value, next_value - value, 0, device_id, sensor_id,
        false, false, 'gap'
        FROM (SELECT *, lead(ts) OVER (ORDER BY ts) AS next_ts, lead(value) OVER (ORDER BY ts) AS next_value
            FROM measurement WHERE device_id = {DAILY} AND sensor_id = 1) AS step WHERE next_ts IS NOT NULL;
    UPDATE device_activity SET completeness_at = date_trunc('hour', now()), completeness_day = 1, completeness_week = 1,
        completeness_month = 1, last_received_at = now();
"""
FIGURES = "SELECT count(*), sum(consumption), sum(estimated), bool_or(adjusted), bool_or(provisional) FROM"
"""Each figure of consumption is worked out, none is sent to the client."""
MARCH = "day >= '2025-03-01' AND day < '2025-04-01'"
QUESTIONS = {
    "year_by_day": (f"{FIGURES} measurement_daily WHERE device_id = {YEAR} AND sensor_id = 1", YEAR, "sensor_id = 1"),
    "year_by_month": (
        f"{FIGURES} measurement_monthly WHERE device_id = {YEAR} AND sensor_id = 1",
        YEAR,
        "sensor_id = 1",
    ),
    "year_by_day_all_columns": (
        (
            f"SELECT sum(length(day::text || mean || mean_by_time || minimum || last_value || consumption)) "
            f"FROM measurement_daily WHERE device_id = {YEAR} AND sensor_id = 1"
        ),
        YEAR,
        "sensor_id = 1",
    ),
    "month_of_fleet_by_day": (
        f"{FIGURES} measurement_daily WHERE device_id > {FLEET} AND device_id < {STATES} AND {MARCH}",
        None,
        f"device_id > {FLEET} AND device_id < {STATES}",
    ),
    "device_status": (
        f"SELECT count(*), max(last_measured_at), avg(completeness_day) FROM device_status WHERE device_id > {STATES}",
        None,
        f"device_id > {STATES}",
    ),
    "daily_register_200_edges_spans": (
        (
            f"SELECT sum(r.adjusted) FROM generate_series(1, 200) AS n CROSS JOIN LATERAL "
            f"register_at({DAILY}, 1::smallint, '2025-01-02'::timestamptz + n % 55 * INTERVAL '1 day') AS r"
        ),
        DAILY,
        "sensor_id = 1",
    ),
    "daily_register_200_edges_readings": (
        (
            f"SELECT sum(r.adjusted) FROM generate_series(1, 200) AS n CROSS JOIN LATERAL "
            f"register_at({UNKEPT}, 1::smallint, '2025-01-02'::timestamptz + n % 55 * INTERVAL '1 day') AS r"
        ),
        UNKEPT,
        "sensor_id = 1",
    ),
}


async def prepare(pool: TimedPool, devices: int) -> None:
    for statement in PREPARE.split(";"):
        if statement.strip():
            await pool.execute(statement, *([devices] if "$1" in statement else []))
    for name, statement in READINGS.items():
        await pool.execute(statement, *([devices] if name == "fleet" else []))
    await pool.execute("TRUNCATE register_note")
    for statement in KEPT.split(";"):
        if statement.strip():
            await pool.execute(statement)
    await pool.execute("VACUUM ANALYZE")


async def seconds(pool: TimedPool, query: str) -> float:
    started = time.perf_counter()
    await pool.fetch(query)
    return time.perf_counter() - started


async def run(dsn: SecretStr, devices: int, turns: int) -> int:
    async with postgres.pool(dsn, application_name="bench-figures", statement_timeout_seconds=3_600) as pool:
        await prepare(pool, devices)
        figures = {}
        for name, (question, device, where) in QUESTIONS.items():
            condition = where if device is None else f"device_id = {device} AND {where}"
            bare = f"SELECT count(*), sum(value) FROM measurement WHERE {condition}"
            pairs = [(await seconds(pool, question), await seconds(pool, bare)) for _ in range(turns + 1)][1:]
            ours, reference = (statistics.median(one) for one in zip(*pairs, strict=True))
            figures[name] = {"seconds": round(ours, 4), "bare_seconds": round(reference, 4)}
            figures[name]["ratio"] = round(ours / reference, 1)
    print(json.dumps({"devices": devices, "turns": turns, "figures": figures, "bounds": BOUNDS}, indent=2))
    return int(any(figures[name]["seconds"] > bound for name, bound in BOUNDS.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1_000)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    options = {"max_wal_size": "8GB", "shared_buffers": "1GB", "autovacuum": "off"}
    with tempfile.TemporaryDirectory() as folder, local_postgres.start(Path(folder), options=options) as server:
        server.sql(CREATE)
        dsn = SecretStr(server.dsn(SUPERUSER, "bench"))
        migrate(dsn)
        return asyncio.run(run(dsn, asked.devices, asked.turns))


if __name__ == "__main__":
    raise SystemExit(main())
