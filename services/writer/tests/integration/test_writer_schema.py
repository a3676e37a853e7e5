"""The schema on both flavours: the migrations, the statements that write, late rows, retention."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from metering_local.postgres_user import binaries, has_timescaledb
from metering_local.testing import FreshDatabase
from metering_writer.flavour import MIGRATIONS, WrongFlavourError, check_flavour
from metering_writer.queries import sql
from metering_writer.testing_flavours import SqlFailedError, Storage, migrate, migrations, up_script, wasm_timescale

DEVICE = 900_001
KEEP = "UPDATE storage_retention SET keep ="
LATE = "2026-01-05 10:00:00+00"
ROW = "INSERT INTO measurement (ts, value, rev, device_id, sensor_id, quality) VALUES"


@pytest.mark.fast
@pytest.mark.parametrize("flavour", ["plain", "timescale"])
def test_every_migration_waits_for_no_lock_and_says_what_it_is_for(flavour: str) -> None:
    for file in migrations(flavour):
        up = file.read_text("utf-8").split("-- migrate:down")[0]
        assert "SET LOCAL lock_timeout" in up, file.name
        assert "SET LOCAL statement_timeout" in up, file.name
        assert up.startswith("-- "), file.name
        assert file.name.split("_")[1] in ("pre", "post"), file.name


@pytest.mark.fast
def test_both_flavours_have_the_same_steps() -> None:
    steps = [{file.name.split("_")[0] for file in migrations(flavour)} for flavour in ("plain", "timescale")]
    assert steps[0] == steps[1]


def test_every_later_migration_finds_data_and_keeps_it(database: FreshDatabase, tmp_path: Path) -> None:
    """Step by step, by the tool, each on tables that hold rows already; hypertables are made of empty ones."""
    flavour = "timescale" if has_timescaledb() else "plain"
    steps = migrations(flavour)
    (tmp_path / flavour).mkdir()
    for number, file in enumerate(steps):
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / file.parent.name)
        migrate(database.owner_dsn, folders=tmp_path)
        if number > 0:
            database.sql(f"{ROW} (now(), 1, {number}, 1, {number}, 0);")
    assert database.sql("SELECT count(*) FROM measurement_named;") == str(len(steps) - 1)
    migrate(database.owner_dsn)
    assert database.sql("SELECT count(*) FROM schema_migrations;") == str(len(steps))


def test_a_migration_that_waits_for_a_lock_gives_up(database: FreshDatabase, tmp_path: Path) -> None:
    """And leaves what was there: the services of the previous release go on meanwhile."""
    flavour = "timescale" if has_timescaledb() else "plain"
    *before, views = migrations(flavour)
    for file in before:
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / file.parent.name)
    migrate(database.owner_dsn, folders=tmp_path)
    shutil.copy(views, tmp_path / views.parent.name)
    with psql_holding(database, "LOCK TABLE measurement"), pytest.raises(SqlFailedError, match="lock timeout"):
        migrate(database.owner_dsn, folders=tmp_path)
    migrate(database.owner_dsn, folders=tmp_path)
    assert database.sql("SELECT count(*) FROM measurement_named;") == "0"


@contextmanager
def psql_holding(database: FreshDatabase, lock: str) -> Iterator[None]:
    """A session that holds a lock meanwhile."""
    command = [str(binaries() / "psql"), "-X", "-q", "-A", "-t", database.owner_dsn.get_secret_value()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(f"BEGIN; {lock}; SELECT 'held';\n")
        assert holder.stdout.readline() == "held\n"
        yield
        holder.stdin.close()


def test_every_later_migration_finds_data_in_hypertables() -> None:
    with wasm_timescale() as storage:
        tables, hypertables, *later = migrations("timescale")
        storage.execute(up_script(tables))
        storage.execute(up_script(hypertables))
        storage.execute(f"{ROW} ('{LATE}', 1, 1, 1, 1, 0)")
        for file in later:
            storage.execute(up_script(file))
        assert storage.rows("SELECT count(*) FROM measurement_named") == [{"count": 1}]


def test_the_flavour_is_asked_of_the_server(either: Storage) -> None:
    is_timescale = bool(either.rows(sql.flavour))
    assert is_timescale == (either.flavour == "timescale")
    if is_timescale:
        assert either.rows(sql.has_hypertable) == [{"exists": True}]


class Asked:
    """What the writer asks of its connection at start, answered by TimescaleDB in WASM."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def fetchval(self, query: str) -> object:
        return next((value for row in self._storage.rows(query) for value in row.values()), None)


async def test_an_old_timescaledb_is_refused_at_start_unless_it_is_allowed(timescale_storage: Storage) -> None:
    with pytest.raises(WrongFlavourError, match=r"TimescaleDB 2\.23\.0-dev is too old"):
        await check_flavour(Asked(timescale_storage), allow_old=False)
    assert await check_flavour(Asked(timescale_storage), allow_old=True) == "timescale 2.23.0-dev"


async def test_plain_tables_beside_the_extension_are_refused() -> None:
    with wasm_timescale() as storage:
        for file in migrations("plain"):
            storage.execute(up_script(file))
        with pytest.raises(WrongFlavourError, match="its tables are plain"):
            await check_flavour(Asked(storage), allow_old=True)


def test_chunks_become_columns_after_a_fortnight(timescale_storage: Storage) -> None:
    """Of measurements alone; and nothing drops them."""
    policies = (
        "SELECT hypertable_name AS of, config FROM timescaledb_information.jobs"
        " WHERE proc_name IN ('policy_compression', 'policy_retention') ORDER BY proc_name, hypertable_name"
    )
    found = [(row["of"], row["config"]) for row in timescale_storage.rows(policies)]
    assert [(of, config.get("compress_after", config.get("drop_after"))) for of, config in found] == [
        ("measurement", "14 days"),
        ("ingest_batch", "90 days"),
        ("rejected_measure", "90 days"),
    ]


def stored(storage: Storage) -> list[tuple[float, int]]:
    found = storage.rows(f"SELECT value, rev FROM measurement WHERE device_id = {DEVICE} ORDER BY ts, sensor_id")
    return [(row["value"], row["rev"]) for row in found]


def upsert(storage: Storage, *values: str) -> None:
    staged = ROW.replace("measurement", "measurement_staging")
    storage.execute(f"BEGIN; {sql.make_staging}; {staged} {', '.join(values)}; {sql.upsert_staged}; COMMIT")


def test_upserts_end_on_the_value_received_last(either: Storage) -> None:
    either.execute(f"DELETE FROM measurement WHERE device_id = {DEVICE}")
    key = f"{DEVICE}, 1, 0"
    upsert(either, f"('{LATE}', 1, 10, {key})")
    upsert(either, f"('{LATE}', 2, 12, {key})", f"('{LATE}', 3, 10, {DEVICE}, 2, 0)")
    upsert(either, f"('{LATE}', 9, 11, {key})", f"('{LATE}', 3, 13, {DEVICE}, 2, 0)")
    assert stored(either) == [(2, 12), (3, 13)]


def test_late_rows_go_into_a_compressed_chunk(timescale_storage: Storage) -> None:
    """New ones, corrections and older ones, after the fortnight."""
    storage = timescale_storage
    storage.execute(f"DELETE FROM measurement WHERE device_id = {DEVICE}")
    upsert(storage, f"('{LATE}', 1, 10, {DEVICE}, 1, 0)", f"('{LATE}', 5, 20, {DEVICE}, 2, 0)")
    storage.execute(
        "SELECT compress_chunk(chunk, true) FROM show_chunks('measurement', older_than => INTERVAL '14 days') AS chunk"
    )
    compressed = (
        "SELECT count(*) FROM timescaledb_information.chunks WHERE is_compressed AND hypertable_name = 'measurement'"
    )
    assert storage.rows(compressed)[0]["count"] > 0
    later = "2026-01-05 10:01:00+00"
    upsert(
        storage,
        f"('{LATE}', 2, 11, {DEVICE}, 1, 0)",
        f"('{LATE}', 6, 19, {DEVICE}, 2, 0)",
        f"('{later}', 7, 30, {DEVICE}, 1, 0)",
    )
    storage.execute(f"{ROW} ('{later}', 8, 30, {DEVICE}, 2, 0)")
    assert stored(storage) == [(2, 11), (5, 20), (7, 30), (8, 30)]


def test_look_ups_find_what_is_there(either: Storage) -> None:
    either.execute(f"DELETE FROM measurement WHERE device_id = {DEVICE}")
    upsert(either, f"('{LATE}', 1, 10, {DEVICE}, 1, 0)")
    there = int(either.rows(f"SELECT extract(epoch FROM '{LATE}'::timestamptz)::bigint AS at")[0]["at"])
    times = f"'{{{there - 60},{there}}}'"
    asked = [f"'{{{DEVICE},{DEVICE}}}'", times]
    bounds = [str(there - 60), str(there)]
    found = either.rows(_filled("devices_with_rows", [*asked, times, *bounds]))
    assert found == [{"device_id": DEVICE}]
    (existing,) = either.rows(_filled("existing_values", [*asked, *bounds]))
    assert existing == {"place": 2, "sensor_id": 1, "value": 1, "quality": 0, "rev": 10}


def _filled(name: str, arguments: list[str]) -> str:
    """The query with its arguments in the place of $1, $2, …"""
    query = sql[name]
    for number, argument in enumerate(arguments, 1):
        query = query.replace(f"${number}", argument)
    return query


def test_retention_is_kept_and_off_for_measurements(either: Storage) -> None:
    ledger = """
        INSERT INTO ingest_batch (received_at, rev, raw_offset, batch_id, device_id, provider_id, raw_partition,
            measures, "values", accepted, refused, not_taken, repeated, written, corrected, present, superseded,
            refusals_beyond, item, items, clock_doubtful, source, status, raw_topic, registry_epoch, registry_position)
        SELECT now() - age, 0, 0, gen_random_uuid(), 900002, 1, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 1, false, 'http', 'validated', '', '', 0
        FROM unnest(ARRAY['93 days', '89 days']::interval[]) AS age"""
    either.execute(ledger)
    either.execute("SELECT apply_retention()")
    _run_retention_jobs(either)
    assert either.rows("SELECT count(*) FROM ingest_batch WHERE device_id = 900002")[0]["count"] == 1


def _run_retention_jobs(storage: Storage) -> None:
    """TimescaleDB drops whole chunks, in jobs of its own."""
    if storage.flavour == "timescale":
        for job in storage.rows("SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'policy_retention'"):
            storage.execute(f"CALL run_job({job['job_id']})")


def test_the_policy_of_measurements_follows_what_is_to_be_kept(timescale_storage: Storage) -> None:
    storage = timescale_storage
    drops = (
        "SELECT config ->> 'drop_after' AS after FROM timescaledb_information.jobs"
        " WHERE proc_name = 'policy_retention' AND hypertable_name = 'measurement'"
    )
    assert storage.rows(drops) == []
    storage.execute(f"{KEEP} '100 days' WHERE relation = 'measurement'; SELECT apply_retention()")
    assert storage.rows(drops) == [{"after": "100 days"}]
    storage.execute(f"{KEEP} NULL WHERE relation = 'measurement'; SELECT apply_retention()")
    assert storage.rows(drops) == []


def test_the_reader_may_read_and_nothing_else(storage: FreshDatabase) -> None:
    readable = storage.sql(
        "SELECT string_agg(table_name, ',' ORDER BY table_name) FROM information_schema.role_table_grants"
        " WHERE grantee = 'storage_reader' AND privilege_type = 'SELECT';"
    )
    for name in ("measurement_named", "measurement_daily", "device_status", "rejected_measure", "ingest_batch"):
        assert name in readable
    others = storage.sql(
        "SELECT count(*) FROM information_schema.role_table_grants"
        " WHERE grantee = 'storage_reader' AND privilege_type <> 'SELECT';"
    )
    assert others.strip() == "0"


def test_migrations_lie_where_the_tools_look_for_them() -> None:
    assert sorted(folder.name for folder in MIGRATIONS.iterdir()) == ["common", "plain", "timescale"]
