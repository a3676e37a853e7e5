"""The validator's two ways to read an element: the quick one takes only clean ones, and both read those alike."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_validator.domain.clean import CleanReader
from metering_validator.domain.json_text import (
    ABSENT,
    JsonNumber,
    cut,
    escaped,
    finite_number,
    integer,
    json_text,
    parse,
)
from metering_validator.domain.received import UnreadableElementError, named_value, read_element

pytestmark = pytest.mark.fast

READER = CleanReader(["Corriente A", "Energía"])


def element(value: str = "1.5", timestamp: str = "1566226133", name: str = '"Corriente A"') -> bytes:
    entry = f'{{"sensorName":{name},"sensorValue":{value}}}'
    return f'{{"deviceNumber":"29","measures":[{{"timestamp":{timestamp},"sensorValues":[{entry}]}}]}}'.encode()


def test_a_clean_element_gives_the_readers_own_names() -> None:
    clean = READER.read(element())
    assert clean is not None
    [measure] = clean.measures
    assert (clean.device_number, measure.timestamp) == ("29", 1566226133)
    assert (measure.sensor_values[0].sensor_name, measure.sensor_values[0].sensor_value) == ("Corriente A", 1.5)
    again = READER.read(element())
    assert again is not None
    assert again.measures[0].sensor_values[0].sensor_name is measure.sensor_values[0].sensor_name


@pytest.mark.parametrize(
    "value",
    [
        element('"1"'),
        element("1e400"),
        element("NaN"),
        element("null"),
        element("true"),
        element(timestamp="1.0"),
        element(name='"Nadie"'),
        element(name="7"),
        element(name='"\xff"').replace(b"\xc3\xbf", b"\xff"),
        b'{"x":"\xff",' + element()[1:],
        b"",
    ],
)
def test_anything_less_than_clean_is_left_to_the_full_read(value: bytes) -> None:
    assert READER.read(value) is None


def test_without_names_any_text_is_a_name() -> None:
    clean = CleanReader([]).read(element(name='"Nadie"'))
    assert clean is not None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "no value"),
        (b"", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[]", "no JSON object"),
        (b"7", "no JSON object"),
        (b"{}", "deviceNumber"),
        (b'{"deviceNumber":7,"measures":[]}', "deviceNumber"),
        (b'{"deviceNumber":"7"}', "measures"),
        (b'{"deviceNumber":"7","measures":{}}', "measures"),
        (b'{"deviceNumber":"7","measures":[7]}', "measures/0"),
        (b'{"deviceNumber":"7","measures":[{"sensorValues":[]}]}', "timestamp"),
        (b'{"deviceNumber":"7","measures":[{"timestamp":1}]}', "sensorValues"),
        (b'{"deviceNumber":"7","measures":[{"timestamp":1,"sensorValues":{}}]}', "sensorValues"),
        (b'{"deviceNumber":"\xff","measures":[]}', "UTF-8"),
        (element("[" * 100_000), "nested"),
    ],
)
def test_what_no_release_can_read(value: bytes | None, why: str) -> None:
    with pytest.raises(UnreadableElementError, match=why):
        read_element(value)


@pytest.mark.parametrize(
    "value", ["1", "1.50", "1e400", "NaN", "-Infinity", "null", "true", '"1"', "[]", "{}", "1" * 5_000]
)
def test_every_value_is_kept_as_it_came(value: str) -> None:
    [measure] = read_element(element(value)).measures
    cells = measure.cells()
    assert (cells.names, json_text(cells.came(0))) == (("Corriente A",), value[:200])


def test_an_entry_without_name_or_value_is_told_apart() -> None:
    assert named_value({"sensorName": "a"}) == ("a", ABSENT)
    assert named_value({"sensorName": 7, "sensorValue": JsonNumber("1")}) == (None, JsonNumber("1"))
    assert named_value([1]) == (None, [1])
    assert json_text(ABSENT) == ""


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        ("1.50", 1.5),
        ("1e3", 1e3),
        ("1e400", None),
        ("NaN", None),
        ("9" * 310, None),
        ("-0.0", -0.0),
        ("-0", 0.0),
    ],
)
def test_finite_numbers(text: str, number: float | None) -> None:
    found = finite_number(JsonNumber(text))
    assert (found is None) == (number is None)
    assert found is None or number is None or struct.pack("d", found) == struct.pack("d", number)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1566226133", 1566226133),
        ("-1", -1),
        ("1.0", None),
        ("1e3", None),
        ("NaN", None),
        ("9" * 400, 10**19),
        ("-" + "9" * 30, -(10**19)),
    ],
)
def test_integers(text: str, number: int | None) -> None:
    assert integer(JsonNumber(text)) == number


def test_a_text_that_looks_like_a_number_is_none() -> None:
    assert (finite_number("1"), integer("1")) == (None, None)


def test_what_is_kept_is_ascii_and_short_and_ends_between_escapes() -> None:
    assert escaped("ñ" * 100) == "\\u00f1" * 33
    assert cut("a" * 199 + "\\n" + "b") == "a" * 199
    assert cut("a" * 198 + "\\\\" + "b") == "a" * 198 + "\\\\"
    assert json_text(["ñ", None, {"a": JsonNumber("1.0")}]) == '["\\u00f1",null,{"a":1.0}]'


@given(st.text())
def test_a_cut_name_is_always_json_again(name: str) -> None:
    kept = escaped(name)
    assert len(kept) <= 200
    assert kept.isascii()
    json.loads(f'"{kept}"')


numbers = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(10**30), 10**30),
)


@given(numbers, st.integers(-(10**11), 10**11), st.sampled_from(["Corriente A", "Energía"]), st.booleans())
def test_what_the_quick_read_takes_the_full_read_reads_alike(
    value: float,
    timestamp: int,
    name: str,
    ascii_only: bool,  # noqa: FBT001  drawn by Hypothesis
) -> None:
    entry: dict[str, Any] = {"sensorName": name, "sensorValue": value}
    document = {"deviceNumber": "ñ", "measures": [{"timestamp": timestamp, "sensorValues": [entry]}]}
    encoded = json.dumps(document, ensure_ascii=ascii_only).encode()
    clean, full = READER.read(encoded), read_element(encoded)
    assert clean is not None
    assert clean.device_number == full.device_number
    [quick], [slow] = clean.measures, full.measures
    assert quick.timestamp == integer(slow.timestamp)
    cells = slow.cells()
    [full_name], [number] = cells.names, cells.numbers
    assert number is not None
    assert quick.sensor_values[0].sensor_name == full_name
    assert struct.pack("d", quick.sensor_values[0].sensor_value) == struct.pack("d", number)
    assert finite_number(parse(json_text(cells.came(0)))) == number
