"""What may stand in the registry: names and numbers, zones, the dictionary, and the lines of a device file."""

import math
import unicodedata
from collections.abc import Sequence
from typing import Any
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_auth.domain import sensor_entries
from metering_auth.domain.device_lines import DeviceLine, Dictionary, check_header, read_line
from metering_auth.domain.sensor_entries import SensorEntry, check_entry
from metering_auth.domain.texts import InvalidEntryError, normalised
from metering_auth.domain.zones import checked_zone
from metering_common.registry.documents import MeterExchange, Sensor, SensorKind

pytestmark = pytest.mark.fast

DICTIONARY = [
    Sensor(id=7, position=1, name="Corriente A", unit="A", kind=SensorKind.INSTANTANEOUS),
    Sensor(
        id=3, position=2, name="Energía activa acumulada", unit="kWh", kind=SensorKind.ACCUMULATING, alias="EACTIVE"
    ),
]

LINES = Dictionary(DICTIONARY)


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


OF_BROKEN_HOURS = [
    "America/St_Johns",
    "Asia/Calcutta",
    "Asia/Colombo",
    "Asia/Kabul",
    "Asia/Kathmandu",
    "Asia/Katmandu",
    "Asia/Kolkata",
    "Asia/Rangoon",
    "Asia/Tehran",
    "Asia/Yangon",
    "Australia/Adelaide",
    "Australia/Broken_Hill",
    "Australia/Darwin",
    "Australia/Eucla",
    "Australia/LHI",
    "Australia/Lord_Howe",
    "Australia/North",
    "Australia/South",
    "Australia/Yancowinna",
    "Canada/Newfoundland",
    "Indian/Cocos",
    "Iran",
    "NZ-CHAT",
    "Pacific/Chatham",
    "Pacific/Marquesas",
]


@pytest.mark.parametrize(
    "zone", ["America/Santiago", "Etc/GMT-1", "UTC", "Europe/Paris", "America/Caracas", "Pacific/Norfolk"]
)
def test_zones_of_whole_hours_are_taken(zone: str) -> None:
    assert checked_zone(zone) == zone


def test_exactly_these_zones_are_refused() -> None:
    """Wherever a day begins at a half or a quarter of an hour UTC, in summer or in winter."""
    assert {zone for zone in available_timezones() if _is_refused(zone)} == set(OF_BROKEN_HOURS)


def _is_refused(zone: str) -> bool:
    try:
        checked_zone(zone)
    except InvalidEntryError:
        return True
    return False


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../etc", ""])
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
        {"capacity": 1e6},
        {"resolution": 0.01},
        {"maximum_rate": 5.0},
        {"kind": SensorKind.ACCUMULATING, "capacity": 0.0},
        {"kind": SensorKind.ACCUMULATING, "capacity": 100.0, "resolution": 100.0},
        {"kind": SensorKind.ACCUMULATING, "maximum_rate": math.inf},
        {"kind": SensorKind.NET, "capacity": 1e6},
        {"interval_seconds": 0},
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


@pytest.mark.parametrize("kind", [SensorKind.ACCUMULATING, SensorKind.NET])
def test_a_register_has_a_resolution_an_interval_and_a_maximum_rate(kind: SensorKind) -> None:
    entry = SensorEntry(
        name="Energía", unit="kWh", kind=kind, resolution=0.01, interval_seconds=86_400, maximum_rate=12.5
    )
    assert check_entry(entry) == entry


def test_a_term_that_the_dictionary_does_not_know_is_not_passed_over() -> None:
    with pytest.raises(InvalidEntryError, match="rollover"):
        sensor_entries.read_dictionary(b'[{"name": "EACTIVE", "unit": "kWh", "rollover": 1000000}]')


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
    assert read_line({"number": " 29 "}, LINES) == DeviceLine(
        "29", (7, 3), "America/Santiago", None, None, (), active=True
    )


def test_a_full_line_is_read() -> None:
    cells = {
        "number": "29",
        "zone": "Etc/GMT-1",
        "interval_seconds": "900",
        "active": "False",
        "sensors": "EACTIVE| Corriente A",
        "maximum_rates": "EACTIVE; 12.5",
        "exchanges": "EACTIVE;2026-03-11T15:00:00-03:00;801.0;12345.5"
        " | EACTIVE;2026-01-01T00:00Z | EACTIVE;2026-02-01T00:00Z;;7",
    }
    assert read_line(cells, LINES) == DeviceLine(
        "29",
        (7, 3),
        "Etc/GMT-1",
        900,
        {3: 12.5},
        (
            MeterExchange(sensor=3, at=1_767_225_600),
            MeterExchange(sensor=3, at=1_769_904_000, opening=7.0),
            MeterExchange(sensor=3, at=1_773_252_000, closing=801.0, opening=12345.5),
        ),
        active=False,
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
        {"exchanges": "EACTIVE"},
        {"exchanges": "EACTIVE;2026-01-01"},
        {"exchanges": "EACTIVE;1770000000"},
        {"exchanges": "EACTIVE;2026-01-01T00:00Z;1;2;3"},
        {"exchanges": "EACTIVE;2026-01-01T00:00Z;much"},
        {"exchanges": "EACTIVE;2026-01-01T00:00Z;nan"},
        {"exchanges": "EACTIVE;2026-01-01T00:00Z;1|EACTIVE;2026-01-01T00:00Z;2"},
        {"exchanges": "Corriente A;2026-01-01T00:00Z"},
        {"exchanges": "Nadie;2026-01-01T00:00Z"},
        {"maximum_rates": "EACTIVE"},
        {"maximum_rates": "EACTIVE;0"},
        {"maximum_rates": "EACTIVE;inf"},
        {"maximum_rates": "Corriente A;5"},
        {"maximum_rates": "EACTIVE;5|EACTIVE;6"},
        {"zone": None},
        {None: ["one cell too many"]},
    ],
)
def test_a_bad_line_says_why(changed: dict[str | None, Any]) -> None:
    cells: dict[Any, Any] = {"number": "29", **changed}
    with pytest.raises(InvalidEntryError, match=r"\w+ \w+"):
        read_line(cells, LINES)


@pytest.mark.parametrize("columns", [None, ["name"], ["number", "colour"], ["number", "number"]])
def test_a_file_that_is_not_one_of_devices_is_refused(columns: list[str] | None) -> None:
    with pytest.raises(InvalidEntryError):
        check_header(columns)
