"""What ingest-api accepts, the validator reads: a fuzz test that goes through both."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from validator_support.builders import NOW, context, element, measure
from validator_support.strategies import any_elements

from metering_ingest_api.domain.elements import MalformedBodyError, ShapeError, split
from metering_validator.domain.json_text import integer
from metering_validator.domain.received import read_element
from metering_validator.domain.validation import validate

pytestmark = pytest.mark.fast

MANY = settings(max_examples=200, deadline=None)

SEED = b"[" + element(measure(NOW, ("Energía activa acumulada", -1.5e3), ("CB", 7)), measure(NOW - 60)) + b"]"
TOKENS = rb'" \ \ud800 \u0000 NaN - 1e400 [ ] { } , : null 0 .'.split()
BYTES = [b"\xff", b"\x00", b"\x01", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"[" * 20, b"9" * 401]
PIECES = TOKENS + BYTES

pieces = st.sampled_from(PIECES) | st.binary(min_size=1, max_size=3)
wounds = st.lists(st.tuples(st.integers(0, len(SEED)), st.integers(0, 4), pieces), min_size=1, max_size=4)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def check_both(body: bytes) -> None:
    """What ingest-api lets in is read and validated, with the same devices and moments; the rest never gets here."""
    try:
        accepted = split(body, lambda _: None).elements
    except (MalformedBodyError, ShapeError):
        return
    for at_ingest_api in accepted:
        behind = read_element(at_ingest_api.value)
        assert behind.device_number == at_ingest_api.device_number
        assert len(behind.measures) == len(at_ingest_api.timestamps)
        for one, timestamp in zip(behind.measures, at_ingest_api.timestamps, strict=True):
            if type(timestamp) is int and abs(timestamp) < 10**11:
                assert integer(one.timestamp) == timestamp
        validate(at_ingest_api.value, context())


@settings(max_examples=1_000, deadline=None)
@given(wounds)
def test_a_wounded_request_that_ingest_api_accepts(cuts: list[tuple[int, int, bytes]]) -> None:
    body = SEED
    for place, length, piece in cuts:
        body = body[:place] + piece + body[place + length :]
    check_both(body)


@MANY
@given(st.lists(any_elements, min_size=1, max_size=3), st.sampled_from(["", " ", "\n\t"]))
def test_odd_elements_that_ingest_api_accepts(elements: list[str], space: str) -> None:
    check_both(f"{space}[{space}{','.join(elements)}{space}]{space}".encode())


@MANY
@given(documents, st.booleans())
def test_any_json_in_each_place_that_ingest_api_does_not_look_into(document: object, ascii_only: bool) -> None:  # noqa: FBT001
    text = json.dumps(document, ensure_ascii=ascii_only)
    for one in (
        f'[{{"deviceNumber":"29","x":{text},"measures":[{{"timestamp":1,"sensorValues":[]}}]}}]',
        f'[{{"deviceNumber":"29","measures":[{{"timestamp":{text},"sensorValues":[{text}]}}]}}]',
        f'[{{"deviceNumber":"29","measures":[{{"timestamp":1,"sensorValues":[{{"sensorName":{text},"sensorValue":{text}}}]}}]}}]',
    ):
        check_both(one.encode("utf-8", "surrogatepass"))


def test_the_seed_itself_is_accepted_whole() -> None:
    [accepted] = split(SEED, lambda _: None).elements
    assert validate(accepted.value, context()).validated.counts.accepted == 2
