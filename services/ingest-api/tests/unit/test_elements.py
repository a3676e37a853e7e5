"""What ingest-api's split takes, refuses, and leaves as it is."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_ingest_api.domain import elements
from metering_ingest_api.domain.elements import Element, MalformedBodyError, ShapeError, check_limits

pytestmark = pytest.mark.fast


def body(sensor_values: str = "[]", timestamp: str = "1566226133", number: str = '"29"') -> bytes:
    return (
        f'[{{"deviceNumber":{number},"measures":[{{"timestamp":{timestamp},"sensorValues":{sensor_values}}}]}}]'
    ).encode()


def split(request: bytes) -> list[Element]:
    return elements.split(request, lambda _: None).elements


def test_a_single_element_is_the_body_less_its_brackets() -> None:
    request = b' [\n  {"measures": [{"timestamp": 1, "sensorValues": [ 1.50 ]}], "deviceNumber": "\\u0041"} ] '
    (element,) = split(request)
    assert element.device_number == "A"
    assert element.timestamps == [1]
    assert element.value == request.strip()[1:-1].strip()


def test_several_elements_keep_their_bytes() -> None:
    parts = [body(number='"a"')[1:-1], b'{ "deviceNumber":"b" ,"x":1, "measures":[{"timestamp":2,"sensorValues":[]}]}']
    assert [element.value for element in split(b"[" + b" ,\n".join(parts) + b"]")] == parts


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e400", "-1E999", "null", "true", '"text"', "{}"])
def test_any_sensor_value_passes(word: str) -> None:
    request = body(f'[{{"sensorName":"Corriente A","sensorValue":{word}}}]')
    assert split(request)[0].value == request[1:-1]


@pytest.mark.parametrize("word", ["1566226133.0", "1e400", "NaN", "null", '"soon"', "[]", "1566226133000", "9" * 400])
def test_any_timestamp_passes(word: str) -> None:
    assert len(split(body(timestamp=word))[0].timestamps) == 1


def test_with_a_bare_word_the_elements_keep_their_bytes_too() -> None:
    parts = [body("[ NaN ]")[1:-1], body('["{\\"[ñ"]', number='"ñ\\\\"')[1:-1]]
    found = split(b"[ " + b" , ".join(parts) + b"]")
    assert [element.value for element in found] == parts
    assert [element.device_number for element in found] == ["29", "ñ\\"]


def test_of_equal_keys_the_last_counts() -> None:
    (element,) = split(b'[{"measures":[],"deviceNumber":"1",' + body(number='"2"')[2:])
    assert element.device_number == "2"


@pytest.mark.parametrize(
    "request_body",
    [
        b"",
        b" ",
        b"nonsense",
        b"[",
        b"[]]",
        b"[1,]",
        b"\xff\xfe[]",
        b"\xef\xbb\xbf[]",
        b"[{}] x",
        body('["\xff"]').replace("ÿ".encode(), b"\xff"),
        body('["\\ud800"]'),
        body('["\\ude00\\ud83d"]'),
        body('["\\ud83d\\u0041"]'),
        body('["\x00"]'),
        body('["\\x00"]'),
        body("[01]"),
        body("[nan]"),
        body(number='"\\udfff"'),
        body().replace(b'"timestamp"', b'"\\ud800":1,"timestamp"'),
        "[]".encode("utf-16"),
    ],
)
def test_what_is_no_json_of_ours_is_malformed(request_body: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        split(request_body)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"a" : ', '[{"a":'])
def test_sixteen_levels_pass_and_seventeen_do_not(opening: str) -> None:
    closing = {"[": "]", "{": "}"}
    ends = "".join(closing[letter] for letter in reversed(opening) if letter in closing)
    fits = (16 - 5) // len(ends)
    nest = (opening * fits + "1" + ends * fits).join("[]")
    assert split(body(nest))[0].value == body(nest)[1:-1]
    nest = (opening * 12 + "1" + ends * 12).join("[]")
    with pytest.raises(MalformedBodyError, match="16"):
        split(body(nest))


def test_brackets_in_strings_neither_count_nor_hide() -> None:
    harmless = '["' + "[{" * 50 + '","\\"[[[[[[[[[[[[[[[[[[\\\\"]'
    assert split(body(harmless))[0].value == body(harmless)[1:-1]
    hidden = '["]",' * 13 + '"[[[[[[[[[[[[["' + "]" * 13
    with pytest.raises(MalformedBodyError, match="16"):
        split(body(hidden))


@pytest.mark.parametrize("before", range(0, 400, 37))
def test_a_number_of_400_characters_passes_and_one_of_401_does_not(before: int) -> None:
    padding = f'"{"x" * before}",'
    assert split(body(f"[{padding}{'9' * 400}]"))
    assert split(body(f'[{padding}"{"9" * 5000}"]'))
    with pytest.raises(MalformedBodyError, match="400"):
        split(body(f"[{padding}{'9' * 401}]"))
    with pytest.raises(MalformedBodyError, match="400"):
        split(body(f"[{padding}0.{'1' * 400}]"))


@pytest.mark.parametrize(
    ("request_body", "pointer"),
    [
        (b"[]", ""),
        (b"{}", ""),
        (b"null", ""),
        (b"1e400", ""),
        (b"[7]", "/0"),
        (b"[{}]", "/0"),
        (b'[{"deviceNumber":29,"measures":[]}]', "/0/deviceNumber"),
        (b'[{"deviceNumber":"29"}]', "/0"),
        (b'[{"deviceNumber":"29","measures":[]}]', "/0/measures"),
        (b'[{"deviceNumber":"29","measures":{}}]', "/0/measures"),
        (b'[{"deviceNumber":"29","measures":[NaN]}]', "/0/measures/0"),
        (b'[{"deviceNumber":"29","measures":[{"sensorValues":[]}]}]', "/0/measures/0"),
        (b'[{"deviceNumber":"29","measures":[{"timestamp":1}]}]', "/0/measures/0"),
        (body("{}"), "/0/measures/0/sensorValues"),
        (body('"[]"'), "/0/measures/0/sensorValues"),
        (b"[" + body()[1:-1] + b"," + body("null")[1:-1] + b"]", "/1/measures/0/sensorValues"),
        (b"[" + body("[NaN]")[1:-1] + b"," + body("Infinity")[1:-1] + b"]", "/1/measures/0/sensorValues"),
    ],
)
def test_the_wrong_shape_is_told_with_its_place(request_body: bytes, pointer: str) -> None:
    with pytest.raises(ShapeError) as caught:
        split(request_body)
    assert caught.value.pointer == pointer


def test_malformed_wins_over_the_wrong_shape() -> None:
    with pytest.raises(MalformedBodyError):
        split(b'[{"deviceNumber":29}, oops]')


@pytest.mark.parametrize("hostile", [b"[" * 1_048_576, b'[{"a":' * 150_000, b'"' * 1_048_576, b"\\" * 1_048_576])
def test_a_mebibyte_of_nonsense_is_malformed(hostile: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        split(hostile)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a[{"\\'), inner, max_size=3),
    max_leaves=6,
)
ELEMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "deviceNumber": st.text(st.characters(codec="utf-8")),
            "measures": st.lists(
                st.fixed_dictionaries({"timestamp": JSON, "sensorValues": st.lists(JSON, max_size=3)}),
                min_size=1,
                max_size=2,
            ),
        }
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=50, derandomize=True, deadline=None)
@given(ELEMENTS, st.sampled_from([{}, {"indent": 2}, {"ensure_ascii": False}]))
def test_every_element_reads_as_the_whole_document_reads(document: Any, style: dict[str, Any]) -> None:
    request = json.dumps(document, **style).encode()
    found = split(request) if depth(document) <= 16 else []
    assert repr([json.loads(element.value) for element in found]) == repr(document if found else [])
    assert [element.device_number for element in found] == [item["deviceNumber"] for item in document if found]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(JSON)
def test_the_limit_of_nesting_is_exact(document: Any) -> None:
    text = json.dumps(document).encode()
    room = 16 - depth(document)
    check_limits(b"[" * room + text + b"]" * room)
    with pytest.raises(MalformedBodyError):
        check_limits(b"[" * (room + 1) + text + b"]" * (room + 1))


def depth(document: Any) -> int:
    inner = document.values() if isinstance(document, dict) else document if isinstance(document, list) else None
    return 0 if inner is None else 1 + max((depth(item) for item in inner), default=0)
