"""What may stand in the registry: names and numbers, zones, the dictionary, and the lines of a device file."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_auth.domain import sensor_entries
from metering_auth.domain.device_lines import DeviceLine, check_header, read_line
from metering_auth.domain.sensor_entries import SensorEntry, check_entry
from metering_auth.domain.texts import InvalidEntryError, normalised
from metering_auth.domain.zones import checked_zone
from metering_common.registry.documents import Sensor, SensorKind

pytestmark = pytest.mark.fast

DICTIONARY = [
    Sensor(id=7, position=1, name="Corriente A", unit="A", kind=SensorKind.INSTANTANEOUS),
    Sensor(
        id=3, position=2, name="Energía activa acumulada", unit="kWh", kind=SensorKind.ACCUMULATING, alias="EACTIVE"
    ),
]


def resolve(named: Sequence[Any]) -> tuple[int, ...]:
    return sensor_entries.resolve(named, DICTIONARY)


def test_what_looks_the_same_is_the_same() -> None:
    assert normalised("  Energi\u0301a ", "the name") == "Energía"


@pytest.mark.parametrize(
    "text", ["", "   ", "a\x00b", "a\tb", "a\nb", "\ud800", "a\u2028b", "x" * 201, "\u0085x\u009f"]
)
def test_empty_long_and_invisible_text_is_refused(text: str) -> None:
    with pytest.raises(InvalidEntryError):
        normalised(text, "the number")


@given(st.text(max_size=220))
def test_a_normalised_text_stays_as_it_is(text: str) -> None:
    try:
        once = normalised(text, "the number")
    except InvalidEntryError:
        return
    assert normalised(once, "the number") == once
    assert unicodedata.is_normalized("NFC", once)


@pytest.mark.parametrize("zone", ["America/Santiago", "Etc/GMT-1", "UTC", "Europe/Paris"])
def test_zones_of_whole_hours_are_taken(zone: str) -> None:
    assert checked_zone(zone) == zone


@pytest.mark.parametrize(
    "zone", ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Mars/Olympus", "../etc", ""]
)
def test_other_zones_are_refused(zone: str) -> None:
    with pytest.raises(InvalidEntryError):
        checked_zone(zone)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Energía activa acumulada", SensorKind.ACCUMULATING), ("Corriente A", SensorKind.INSTANTANEOUS)],
)
def test_the_kind_follows_from_the_name_unless_given(name: str, kind: SensorKind) -> None:
    assert check_entry(SensorEntry(name=name, unit="x")).kind is kind
    assert check_entry(SensorEntry(name=name, unit="x", kind=SensorKind.ACCUMULATING)).kind is SensorKind.ACCUMULATING


@pytest.mark.parametrize(
    "changed",
    [
        {"minimum": 2.0, "maximum": 1.0},
        {"rollover": 0.0},
        {"unit": " "},
        {"alias": ""},
        {"faults": ((math.nan, None),)},
        {"faults": ((None, None),)},
        {"faults": ((1.0, 0.0),)},
        {"maximum": math.inf},
    ],
)
def test_a_dictionary_entry_that_contradicts_itself_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidEntryError):
        check_entry(SensorEntry(**{"name": "Corriente A", "unit": "A", **changed}))


def test_a_device_names_sensors_by_name_alias_or_object_in_any_order() -> None:
    assert resolve(["EACTIVE", {"name": "Corriente A", "unit": "A"}, "Corriente A "]) == (7, 3)


@pytest.mark.parametrize("named", [["Voltaje"], [7], [None], [{"alias": "EACTIVE"}]])
def test_a_device_cannot_have_a_sensor_that_the_dictionary_has_not(named: list[Any]) -> None:
    with pytest.raises(InvalidEntryError):
        resolve(named)


@pytest.mark.parametrize("text", [b"{}", b"nothing", b"\xff"])
def test_a_list_of_sensors_is_a_json_list(text: bytes) -> None:
    with pytest.raises(InvalidEntryError):
        sensor_entries.read_sensor_list(text)


def test_a_line_with_only_a_number_takes_the_defaults() -> None:
    whole = (7, 3)
    assert read_line({"number": " 29 "}, whole, resolve) == DeviceLine(
        "29", whole, "America/Santiago", None, (), active=True
    )


def test_a_full_line_is_read() -> None:
    cells = {
        "number": "29",
        "zone": "Etc/GMT-1",
        "interval_seconds": "900",
        "active": "False",
        "sensors": "EACTIVE| Corriente A",
        "meter_exchanges": "1770000000|1760000000",
    }
    assert read_line(cells, (), resolve) == DeviceLine(
        "29", (7, 3), "Etc/GMT-1", 900, (1760000000, 1770000000), active=False
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"number": ""},
        {"zone": "Mars/Olympus"},
        {"interval_seconds": "0"},
        {"interval_seconds": "15m"},
        {"interval_seconds": "9" * 60},
        {"active": "perhaps"},
        {"sensors": "Voltaje"},
        {"meter_exchanges": "-1"},
        {"meter_exchanges": "2026-01-01"},
        {"zone": None},
        {None: ["one cell too many"]},
    ],
)
def test_a_bad_line_says_why(changed: dict[str | None, Any]) -> None:
    cells: dict[Any, Any] = {"number": "29", **changed}
    with pytest.raises(InvalidEntryError, match=r"\w+ \w+"):
        read_line(cells, (), resolve)


@pytest.mark.parametrize("columns", [None, ["name"], ["number", "colour"], ["number", "number"]])
def test_a_file_that_is_not_one_of_devices_is_refused(columns: list[str] | None) -> None:
    with pytest.raises(InvalidEntryError):
        check_header(columns)
