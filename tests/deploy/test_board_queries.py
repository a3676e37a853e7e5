"""Every query of the analysts' dashboards, on both flavours, where two providers have a device of the same number."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.observability import dashboards
from deploy.observability.dashboards import Panel, Variable
from metering_local.postgres import PostgresServer
from metering_local.testing import FreshDatabase, make_database
from metering_writer.testing_flavours import (
    Storage,
    as_json,
    catch_up_at,
    in_thread,
    migrate,
    migrations,
    up_script,
    wasm_timescale,
)

HOUSE, OTHER = 29_001, 29_002
REGISTER, LOAD = 2_901, 2_902
ZONE = "America/Santiago"
START = datetime(2026, 11, 20, 3, tzinfo=UTC)
"""Midnight in Santiago."""
BOARDS = {board.uid: board for board in dashboards.boards() if "analysts" in board.tags}
SHOWN = {f"{board.uid}: {panel.title}": panel for board in BOARDS.values() for panel in board.panels}
PANELS = [pytest.param(panel, id=name) for name, panel in SHOWN.items()]
WITH_UNIT = [pytest.param(panel, id=name) for name, panel in SHOWN.items() if panel.unit_sql]


class PlainStorage:
    """A migrated database on PostgreSQL without TimescaleDB, as its owner."""

    flavour = "plain"

    def __init__(self, database: FreshDatabase) -> None:
        self._database = database

    def execute(self, script: str) -> None:
        self._database.sql(f"{script};")

    def rows(self, query: str) -> list[dict[str, Any]]:
        return list(json.loads(self._database.sql(f"{as_json(query)};")))

    def refresh(self) -> None:
        in_thread(catch_up_at(self._database.owner_dsn))


@contextmanager
def plain_storage(server: PostgresServer) -> Iterator[Storage]:
    database = make_database(server)
    migrate(database.owner_dsn, "plain")
    yield PlainStorage(database)
    server.sql(f"DROP DATABASE {database.name} WITH (FORCE);")


@contextmanager
def timescale_storage() -> Iterator[Storage]:
    with wasm_timescale() as storage:
        for file in migrations("timescale"):
            storage.execute(up_script(file))
        yield storage


@pytest.fixture(scope="module", params=["plain", "timescale"])
def houses(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[Storage]:
    """The house of Norte uses 4 kWh on the 20th, that of Sur 40; one of its values was corrected."""
    with plain_storage(postgres_server) if request.param == "plain" else timescale_storage() as storage:
        for statement in _statements():
            storage.execute(statement)
        storage.refresh()
        yield storage


def _statements() -> Iterator[str]:
    yield "INSERT INTO provider (id, name, active) VALUES (2901, 'Norte', true), (2902, 'Sur', true)"
    yield (
        "INSERT INTO sensor (id, position, name, unit, kind) VALUES"
        f" ({REGISTER}, 1, 'Energía de prueba', 'kWh', 'accumulating'), ({LOAD}, 2, 'Carga', 'kW', 'instantaneous')"
    )
    for device, provider, per_hour in ((HOUSE, 2901, 4 / 24), (OTHER, 2902, 40 / 24)):
        yield (
            "INSERT INTO device (id, provider_id, number, zone, interval_seconds, sensors, active)"
            f" VALUES ({device}, {provider}, 'house', '{ZONE}', 3600, '{{{REGISTER},{LOAD}}}', true)"
        )
        yield (
            "INSERT INTO measurement (ts, value, rev, device_id, sensor_id, quality)"
            f" SELECT TIMESTAMPTZ '{START.isoformat()}' + n * INTERVAL '1 hour',"
            f" CASE WHEN s = {REGISTER} THEN n * {per_hour}::float8 ELSE 2 END, 1, {device}, s, 0"
            f" FROM generate_series(0, 48) AS n, unnest(ARRAY[{REGISTER}, {LOAD}]) AS s WHERE n <> 30"
        )
        yield (
            "INSERT INTO register_note (since, upto, received_at, device_id, sensors) VALUES"
            f" ('{START.isoformat()}', '{(START + timedelta(hours=48)).isoformat()}', '{START.isoformat()}',"
            f" {device}, '{{{REGISTER},{LOAD}}}')"
        )
        yield (
            "INSERT INTO measurement_correction VALUES"
            f" ('{START.isoformat()}', now(), 1, 1, 2, 2, gen_random_uuid(), {device}, {LOAD}, 0, 0, 0, true)"
        )
        yield (
            "INSERT INTO rejected_measure (received_at, batch_id, device_id, provider_id, count, item, ordinal, rule,"
            f" sensor_name, samples) VALUES ('{START.isoformat()}', gen_random_uuid(), {device}, {provider}, 1, 0, 0,"
            " 'RV-03', 'Nadie', '[]')"
        )


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_shows_the_chosen_house_and_not_its_namesake(houses: Storage, panel: Panel) -> None:
    (query,) = panel.queries
    ours, theirs = (houses.rows(filled_in(query.text, device)) for device in (HOUSE, OTHER))
    assert ours
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_the_columns_that_grafana_draws(houses: Storage, panel: Panel) -> None:
    """A time series needs times in `time`; a bar chart text or times before its numbers, or it draws nothing."""
    types = column_types(houses, filled_in(panel.queries[0].text, HOUSE))
    if panel.kind == "timeseries":
        assert types["time"] == "timestamp with time zone"
    if panel.kind == "barchart":
        assert next(iter(types.values())) in {"text", "timestamp with time zone"}
    if panel.kind != "table":
        assert set(list(types.values())[1:]) <= {"double precision", "bigint", "numeric"}


@pytest.mark.parametrize("panel", WITH_UNIT)
def test_a_panels_unit_is_that_of_what_was_chosen(houses: Storage, panel: Panel) -> None:
    assert panel.unit_sql is not None
    wanted = "kWh" if "$register" in panel.unit_sql else "kW"
    assert houses.rows(filled_in(panel.unit_sql, HOUSE)) == [{"unit": wanted}]


def test_a_day_stands_under_its_own_date_in_the_devices_zone(houses: Storage) -> None:
    """Not under the evening before, at which it begins in UTC."""
    shown = {device: houses.rows(panel_query("Consumption by day", device)) for device in (HOUSE, OTHER)}
    assert [row["day"] for row in shown[HOUSE]][-2:] == ["2026-11-20", "2026-11-21"]
    for device, used in ((HOUSE, 4), (OTHER, 40)):
        assert [row["consumption"] for row in shown[device]][-2:] == pytest.approx([used, used])


def test_the_mean_day_goes_by_hours_of_the_devices_zone(houses: Storage) -> None:
    rows = houses.rows(panel_query("Mean day", HOUSE))
    assert [row["hour"] for row in rows] == [f"{hour:02}:00" for hour in range(24)]
    whole = [row["consumption"] for row in rows if row["hour"] != "23:00"]  # the first reading ends an hour of its own
    assert whole == pytest.approx([4 / 24] * 23)


@pytest.mark.parametrize("uid", BOARDS)
def test_the_choice_names_provider_and_number_and_gives_the_id(houses: Storage, uid: str) -> None:
    (choice,) = (one for one in BOARDS[uid].variables if one.name == "device")
    offered = {row["__value"]: row["__text"] for row in houses.rows(choice.query)}
    assert (offered[HOUSE], offered[OTHER]) == (f"Norte · house ({HOUSE})", f"Sur · house ({OTHER})")
    assert all(set(houses.rows(one.query)[0]) == {"__value", "__text"} for one in _variables(uid))


def _variables(uid: str) -> list[Variable]:
    return list(BOARDS[uid].variables)


def panel_query(title: str, device: int) -> str:
    (panel,) = (one for one in BOARDS["metering-consumption"].panels if one.title == title)
    return filled_in(panel.queries[0].text, device)


def filled_in(text: str, device: int) -> str:
    """As Grafana fills in its macros and variables."""
    since, upto = (f"'{(START + timedelta(days=days)).isoformat()}'" for days in (-1, 3))
    chosen = {"$device": device, "$register": REGISTER, "$sensor": LOAD, "$__timeFrom()": since, "$__timeTo()": upto}
    for name, value in chosen.items():
        text = text.replace(name, str(value))
    return re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 BETWEEN {since} AND {upto}", text).strip()


def column_types(storage: Storage, query: str) -> dict[str, Any]:
    storage.execute(f"CREATE VIEW drawn AS {query}")
    try:
        found = storage.rows(
            "SELECT attname, format_type(atttypid, NULL) AS type FROM pg_attribute"
            " WHERE attrelid = 'drawn'::regclass AND attnum > 0 ORDER BY attnum"
        )
    finally:
        storage.execute("DROP VIEW drawn")
    return {row["attname"]: row["type"] for row in found}
