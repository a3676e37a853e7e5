"""CSV files are read as they are meant, or refused in one line: zones, number formats, encodings, odd rows."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering_gateway.domain.csv_mapping import MappingError, read_mapping
from metering_gateway.domain.csv_rows import RowError, days_to_move
from metering_gateway.replay import CsvFile, open_csv
from metering_gateway.tables import TableError

pytestmark = pytest.mark.fast

DATA = Path(__file__).parents[4] / "data"
FIRST = 1_170_284_400  # 2007-02-01T00:00+01:00
ENERGY = "Energía activa acumulada"
POWER = "Potencia"
FORMAT = "%Y-%m-%d %H:%M"


def document(**changes: Any) -> dict[str, Any]:
    register = {"sensor": ENERGY, "column": "kW", "divide": 60, "register": True, "start": 5}
    devices = [{"number": "29", "sensors": [{"sensor": POWER, "column": "kW"}, register]}]
    return {"time": {"columns": ["t"], "format": FORMAT, "zone": "Etc/GMT-1"}, "devices": devices} | changes


def one_sensor(**changes: Any) -> dict[str, Any]:
    return document(devices=[{"number": "29", "sensors": [{"sensor": POWER, "column": "kW"}]}], **changes)


def opened(folder: Path, content: str | bytes, mapping: dict[str, Any]) -> CsvFile:
    file, mapping_file = folder / "f.csv", folder / "m.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    mapping_file.write_text(json.dumps(mapping))
    return open_csv(file, mapping_file)


def read(folder: Path, content: str | bytes, mapping: dict[str, Any] | None = None) -> list[tuple[int, float]]:
    """(timestamp, value) of the one sensor, in the order of the file."""
    rows = opened(folder, content, mapping or one_sensor()).rows()
    return [(m.timestamp, float(str(m.values[POWER]))) for row in rows for m in row.measures]


def test_the_household_file_gives_four_devices_with_registers_that_start_at_zero() -> None:
    file = open_csv(DATA / "household_power_2007-02-01_02.csv", DATA / "household_mapping.json")
    rows, measures = list(file.table.rows()), [m for row in file.rows() for m in row.measures]
    assert len(rows) == 2880
    assert len(measures) == 4 * 2880 + 4
    starts = measures[:4]
    assert [m.timestamp for m in starts] == [FIRST - 60] * 4
    assert all(m.values == {ENERGY: 0.0} for m in starts)
    last = {m.device_number: m for m in measures[-4:]}
    assert len(last) == 4
    exact = sum(Fraction(row.cells["Global_active_power"]) for row in rows) / 60
    assert last["hogar-principal"].values[ENERGY] == float(exact)
    for number, column in [("hogar-cocina", 1), ("hogar-lavadero", 2), ("hogar-agua-y-aire", 3)]:
        watt_hours = sum(Decimal(row.cells[f"Sub_metering_{column}"]) for row in rows)
        assert last[number].values[ENERGY] == float(watt_hours / 1000)


def test_whole_days_are_moved_so_that_the_file_ends_on_the_day() -> None:
    shift = days_to_move(date(2007, 2, 2), date(2026, 11, 22))
    file = open_csv(DATA / "household_power_2007-02-01_02.csv", DATA / "household_mapping.json")
    times = [row.timestamp for row in file.rows(shift)]
    assert (times[0] - FIRST) == shift * 86_400
    assert (times[-1] - FIRST) % 86_400 == 86_340
    assert days_to_move(date(2007, 2, 2), None) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.one_of(st.none(), st.decimals(0, 10, places=2)), min_size=1, max_size=40))
def test_a_register_is_the_exact_running_sum_and_a_missing_cell_gives_no_value(
    tmp_path: Path, cells: list[Decimal | None]
) -> None:
    lines = [f"2026-01-01 00:{i:02};{'?' if cell is None else cell}" for i, cell in enumerate(cells)]
    rows = opened(tmp_path, "t;kW\n" + "\n".join(lines), document()).rows()
    sent = [m.values for row in rows for m in row.measures if POWER in m.values]
    total, expected = Fraction(5), []
    for cell in cells:
        total += Fraction(cell or 0) / 60
        if cell is not None:
            expected.append({POWER: float(cell), ENERGY: pytest.approx(float(total), abs=1e-12)})
    assert sent == expected


def test_a_local_time_of_a_zone_with_summer_time_is_read_on_its_own_wall(tmp_path: Path) -> None:
    santiago = one_sensor(time={"columns": ["t"], "format": FORMAT, "zone": "America/Santiago"})
    (winter, _), (cold, _) = read(tmp_path, "t,kW\n2026-01-15 12:00,1\n2026-07-15 12:00,1\n", santiago)
    assert (winter % 86_400, cold % 86_400) == (15 * 3600, 16 * 3600)


MADRID = {"columns": ["t"], "format": FORMAT, "zone": "Europe/Madrid"}
QUARTERS = [f"2026-10-25 {hour:02}:{quarter:02}" for hour in (1, 2, 2, 3) for quarter in (0, 15, 30, 45)]
BEGIN = 1_792_882_800  # 2026-10-25T01:00+02:00


@pytest.mark.parametrize("descending", [False, True])
def test_the_hour_that_occurs_twice_goes_by_the_order_of_the_rows(tmp_path: Path, *, descending: bool) -> None:
    lines = [f"{text};{number}" for number, text in enumerate(QUARTERS)]
    content = "t;kW\n" + "\n".join(reversed(lines) if descending else lines)
    got = read(tmp_path, content, one_sensor(time=MADRID))
    assert sorted(got) == [(BEGIN + 900 * number, number) for number in range(16)]


def test_an_hourly_file_has_the_hour_twice_in_a_row(tmp_path: Path) -> None:
    content = "t;kW\n2026-10-25 01:00;0\n2026-10-25 02:00;1\n2026-10-25 02:00;2\n2026-10-25 03:00;3\n"
    got = read(tmp_path, content, one_sensor(time=MADRID))
    assert got == [(BEGIN + 3600 * number, number) for number in range(4)]


def test_times_with_an_offset_of_their_own_need_no_zone(tmp_path: Path) -> None:
    offsets = one_sensor(time={"columns": ["t"], "format": "%Y-%m-%dT%H:%M%z"})
    content = "t,kW\n2026-10-25T02:30+0200,1\n2026-10-25T02:30+0100,2\n"
    assert read(tmp_path, content, offsets) == [(BEGIN + 5400, 1), (BEGIN + 9000, 2)]
    iso = one_sensor(time={"columns": ["t"]})
    assert read(tmp_path, "t,kW\n2026-10-25T00:30:00Z,1\n", iso) == [(BEGIN + 5400, 1)]


def test_a_row_per_register_is_read_by_its_name(tmp_path: Path) -> None:
    sensors = [
        {"sensor": POWER, "column": "v", "where": {"obis": "16.7.0"}},
        {"sensor": ENERGY, "column": "v", "where": {"obis": "1.8.0"}},
    ]
    content = "t,obis,v\n2026-01-01 00:00,1.8.0,7\n2026-01-01 00:00,16.7.0,2\n2026-01-01 00:00,9,9\n"
    file = opened(tmp_path, content, document(devices=[{"number": "29", "sensors": sensors}]))
    assert [dict(m.values) for row in file.rows() for m in row.measures] == [{ENERGY: 7.0}, {POWER: 2.0}]


SPANISH = "fecha;potencia señal;kW\n2026-01-01 00:00;a;1.234,5\n2026-01-01 00:01;ñ;998\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_a_spanish_spreadsheet_writes_is_read(tmp_path: Path, encoding: str) -> None:
    spanish = one_sensor(time={"columns": ["fecha"], "format": FORMAT, "zone": "Etc/UTC"})
    got = read(tmp_path, SPANISH.replace("\n", "\r\n").encode(encoding), spanish)
    assert [value for _, value in got] == [1234.5, 998]
    assert opened(tmp_path, SPANISH.encode(encoding), spanish).table.header[1] == "potencia señal"


def cells(*texts: str, delimiter: str = ";") -> str:
    return f"t{delimiter}kW\n" + "".join(f"2026-01-01 00:{i:02}{delimiter}{t}\n" for i, t in enumerate(texts))


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (("1,5", "998"), [1.5, 998]),
        (("1.5", "998"), [1.5, 998]),
        (("1.001", "2.250"), [1.001, 2.25]),
        (("1.001", "0.250", "3"), [1.001, 0.25, 3]),
        (("1.234.567", "998"), [1234567, 998]),
        (("1.001", "998", "0,5"), [1001, 998, 0.5]),
        (("1,001.25", "998"), [1001.25, 998]),
        (("-3e2", "+4"), [-300, 4]),
        (("1000", "12"), [1000, 12]),
    ],
)
def test_the_numbers_show_how_they_are_written(tmp_path: Path, texts: tuple[str, ...], values: list[float]) -> None:
    assert [value for _, value in read(tmp_path, cells(*texts))] == values


def test_what_the_mapping_says_is_trusted(tmp_path: Path) -> None:
    content = cells("1.001", "998")
    assert [v for _, v in read(tmp_path, content, one_sensor(decimal="."))] == [1.001, 998]
    assert [v for _, v in read(tmp_path, content, one_sensor(thousands="."))] == [1001, 998]
    assert [v for _, v in read(tmp_path, content, one_sensor(decimal=",", thousands="."))] == [1001, 998]


@pytest.mark.parametrize(
    ("content", "changes", "says"),
    [
        (cells("998", "999", "1.001"), {}, "line 4: kW: '1.001' can be read in two ways"),
        (cells("1,5", "1.5"), {}, "decimals in two ways"),
        (cells("1.234,5", "1.5"), {}, "in two ways|thousands and for decimals"),
        (cells("1.001"), {"decimal": ","}, "thousands"),
        (cells("1.01"), {"decimal": ",", "thousands": "."}, "is no number"),
        (cells("230,5", "231,0", delimiter=","), {}, "line 2 has 3 cells, the header has 2.*decimal comma"),
        (cells("1;2"), {}, "line 2 has 3 cells, the header has 2"),
        ("t;kW\n2026-01-01 00:00\n", {}, "line 2 has 1 cells"),
        (cells("NaN"), {}, "line 2: kW: 'NaN' is no number"),
        (cells("1", "sNaN"), {}, "line 3: kW: 'sNaN' is no number"),
        (cells("1_000"), {}, "is no number"),
        (cells("inf"), {}, "is no number"),
        ("t;kW;kW\n2026-01-01 00:00;1;2\n", {}, "two columns are named kW"),
        ("t;kW\nyesterday;1\n", {}, "line 2: 'yesterday' is no time"),
        ("t;kW\n2026-01-01 00:00;1\n2026-01-01 00:00;2\n", {}, "line 3: the time .* stands in line 2 already"),
        ("t;kW\n2026-03-29 02:30;1\n", {"time": MADRID}, "line 2: .*02:30' does not exist in Europe/Madrid"),
        ("t;kW\n2026-10-25 02:00;1\n" * 1 + "2026-10-25 02:00;1\n" * 2, {"time": MADRID}, "line 4: .*stands in line 3"),
        ("t;kW\n2026-01-01 00:00;1\n", {"time": {"columns": ["t"], "format": FORMAT}}, "time.zone"),
        ("t;kW\n", {}, "no row after the header"),
        ("", {}, "is empty"),
        ("t;W\n2026-01-01 00:00;1\n", {}, "no column kW; it has t, W"),
        ('t;kW\n2026-01-01 00:00;"1\n', {}, "line 2"),
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all_is_refused_in_one_line(
    tmp_path: Path, content: str, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises((RowError, TableError), match=says) as refused:
        opened(tmp_path, content, one_sensor(**changes))
    assert "\n" not in str(refused.value)


def wrong() -> Iterator[tuple[Any, str]]:
    sensor = {"sensor": "s", "column": "c"}
    yield [], "an object is expected"
    yield document(devices=[]), "at least one"
    yield document(devices=[{"number": 29, "sensors": []}]), r"devices\[0\]: number: text"
    yield document(time={"columns": ["t"], "format": "x", "zone": "Mars/Base"}), "no time zone"
    yield document(devices=[{"number": "1", "sensors": [sensor | {"divide": 0}]}]), "not 0"
    yield document(devices=[{"number": "1", "sensors": [sensor | {"divide": "x"}]}]), "a number"
    yield document(devices=[{"number": "1", "sensors": [{"sensor": "s"}]}]), r"sensors\[0\]: column: text"
    yield document(devices=[{"number": "1", "sensors": [sensor, sensor]}]), "mapped twice"
    yield document(decimal=",", delimiter=","), "delimiter"
    yield document(decimal="x"), "decimal"
    yield document(delimiter=";;"), "one character"


@pytest.mark.parametrize(("given_document", "says"), list(wrong()))
def test_a_wrong_mapping_is_named_by_its_place(given_document: Any, says: str) -> None:
    with pytest.raises(MappingError, match=says):
        read_mapping(given_document)
