"""The column mapping: the household file to the watt-hour, days moved, missing cells, clear errors."""

import csv
import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_gateway.domain.csv_mapping import FileMapping, MappingError, read_mapping
from metering_gateway.domain.csv_rows import Row, RowError, days_to_move, measures_of

pytestmark = pytest.mark.fast

DATA = Path(__file__).parents[4] / "data"
FIRST = 1_170_284_400  # 2007-02-01T00:00+01:00
ENERGY = "Energía activa acumulada"


def document(**changes: Any) -> dict[str, Any]:
    register = {"sensor": ENERGY, "column": "kW", "divide": 60, "register": True, "start": 5}
    devices = [{"number": "29", "sensors": [{"sensor": "Potencia", "column": "kW"}, register]}]
    time = {"columns": ["t"], "format": "%Y-%m-%d %H:%M", "zone": "Etc/GMT-1"}
    return {"time": time, "devices": devices} | changes


def mapping(**changes: Any) -> FileMapping:
    return read_mapping(document(**changes))


def household() -> tuple[FileMapping, list[Row]]:
    read = read_mapping(json.loads((DATA / "household_mapping.json").read_text()))
    with (DATA / "household_power_2007-02-01_02.csv").open(newline="") as file:
        return read, list(csv.DictReader(file, delimiter=";"))


def test_the_household_file_gives_four_devices_with_registers_that_start_at_zero() -> None:
    read, rows = household()
    measures = [m for row in measures_of(rows, read, 0) for m in row.measures]
    assert len(rows) == 2880
    assert len(measures) == 4 * 2880 + 4
    starts = measures[:4]
    assert [m.timestamp for m in starts] == [FIRST - 60] * 4
    assert all(m.values == {ENERGY: 0.0} for m in starts)
    last = {m.device_number: m for m in measures[-4:]}
    assert len(last) == 4
    exact = sum(Fraction(row["Global_active_power"] or "") for row in rows) / 60
    assert last["hogar-principal"].values[ENERGY] == float(exact)
    for number, column in [("hogar-cocina", 1), ("hogar-lavadero", 2), ("hogar-agua-y-aire", 3)]:
        watt_hours = sum(Decimal(row[f"Sub_metering_{column}"] or "") for row in rows)
        assert last[number].values[ENERGY] == float(watt_hours / 1000)


def test_whole_days_are_moved_so_that_the_file_ends_on_the_day() -> None:
    shift = days_to_move(date(2007, 2, 2), date(2026, 11, 22))
    read, rows = household()
    times = [row.timestamp for row in measures_of(rows, read, shift)]
    assert (times[0] - FIRST) == shift * 86_400
    assert (times[-1] - FIRST) % 86_400 == 86_340
    assert days_to_move(date(2007, 2, 2), None) == 0


@given(st.lists(st.one_of(st.none(), st.decimals(0, 10, places=3)), min_size=1, max_size=40))
def test_a_register_is_the_exact_running_sum_and_a_missing_cell_gives_no_value(cells: list[Decimal | None]) -> None:
    rows: list[Row] = [
        {"t": f"2026-01-01 00:{i:02}", "kW": "?" if cell is None else str(cell)} for i, cell in enumerate(cells)
    ]
    sent = {
        m.timestamp: m.values for row in measures_of(rows, mapping(), 0) for m in row.measures if "Potencia" in m.values
    }
    total = Fraction(5)
    expected = []
    for cell in cells:
        total += Fraction(cell or 0) / 60
        if cell is not None:
            expected.append({"Potencia": float(cell), ENERGY: pytest.approx(float(total), abs=1e-12)})
    assert list(sent.values()) == expected


def test_a_local_time_of_a_zone_with_summer_time_is_read_on_its_own_wall() -> None:
    summer = mapping(time={"columns": ["t"], "format": "%Y-%m-%d %H:%M", "zone": "America/Santiago"})
    rows: list[Row] = [{"t": "2026-01-15 12:00", "kW": "1"}, {"t": "2026-07-15 12:00", "kW": "1"}]
    winter, cold = (row.timestamp for row in measures_of(rows, summer, 0))
    assert (winter % 86_400, cold % 86_400) == (15 * 3600, 16 * 3600)


@pytest.mark.parametrize(
    ("row", "says"),
    [({"t": "yesterday", "kW": "1"}, "line 2: 'yesterday'"), ({"t": "2026-01-01 00:00", "kW": "1,5"}, "line 2: kW")],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(row: Row, says: str) -> None:
    with pytest.raises(RowError, match=says):
        list(measures_of([row], mapping(), 0))


def test_a_decimal_comma_is_read_when_the_mapping_says_so() -> None:
    rows: list[Row] = [{"t": "2026-01-01 00:00", "kW": "1,5"}]
    (row,) = measures_of(rows, mapping(decimal=","), 0)
    assert row.measures[-1].values["Potencia"] == 1.5


def wrong() -> Iterator[tuple[Any, str]]:
    yield [], "an object is expected"
    yield document(devices=[]), "at least one"
    yield document(devices=[{"number": 29, "sensors": []}]), r"devices\[0\]: number: text"
    yield document(time={"columns": ["t"], "format": "x", "zone": "Mars/Base"}), "no time zone"
    yield document(devices=[{"number": "1", "sensors": [{"sensor": "s", "column": "c", "divide": 0}]}]), "not 0"
    yield document(devices=[{"number": "1", "sensors": [{"sensor": "s", "column": "c", "divide": "x"}]}]), "a number"
    yield document(devices=[{"number": "1", "sensors": [{"sensor": "s"}]}]), r"sensors\[0\]: column: text"


@pytest.mark.parametrize(("given_document", "says"), list(wrong()))
def test_a_wrong_mapping_is_named_by_its_place(given_document: Any, says: str) -> None:
    with pytest.raises(MappingError, match=says):
        read_mapping(given_document)
