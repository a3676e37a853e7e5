"""Packing: what goes into one request, and that two values for one key never change places."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_gateway.domain.measures import StoredMeasure, UnstorableMeasureError, sensor_values_json
from metering_gateway.domain.packing import MAX_BODY_BYTES, SPAN_SECONDS, body, device_numbers, halves, pack

pytestmark = pytest.mark.fast

DAY = SPAN_SECONDS
MEASURES = st.lists(
    st.tuples(st.sampled_from(["29", "30", "Nº 1/b"]), st.integers(0, 3 * DAY), st.floats(allow_nan=False)),
    max_size=300,
).map(lambda rows: [stored(i, *row) for i, row in enumerate(rows)])


def stored(number: int, device: str, timestamp: int, value: float, sensors: int = 1) -> StoredMeasure:
    text = sensor_values_json({f"Corriente {i}": value for i in range(sensors)})
    return StoredMeasure(number, device, timestamp, text, sensors)


@given(MEASURES)
def test_a_request_keeps_the_published_limits(outbox: list[StoredMeasure]) -> None:
    packed = pack(outbox)
    times = [measure.timestamp for measure in packed]
    assert len(packed) <= 100
    assert not times or max(times) - min(times) <= DAY
    assert bool(packed) == bool(outbox)
    assert packed[:1] == outbox[:1]


@given(MEASURES)
def test_everything_goes_in_the_end_and_each_key_in_its_order(outbox: list[StoredMeasure]) -> None:
    sent: list[StoredMeasure] = []
    left = outbox
    while left:
        packed = pack(left)
        sent += packed
        left = [measure for measure in left if measure not in packed]
    assert sorted(m.id for m in sent) == [m.id for m in outbox]
    for key in {(m.device_number, m.timestamp) for m in outbox}:
        ids = [m.id for m in sent if (m.device_number, m.timestamp) == key]
        assert ids == sorted(ids)


@given(MEASURES.filter(bool))
def test_the_body_is_the_published_json_one_element_per_device(outbox: list[StoredMeasure]) -> None:
    packed = pack(outbox)
    elements = json.loads(body(packed))
    assert [element["deviceNumber"] for element in elements] == device_numbers(packed)
    read = [(e["deviceNumber"], m["timestamp"], m["sensorValues"]) for e in elements for m in e["measures"]]
    meant = [
        (m.device_number, m.timestamp, json.loads(m.sensor_values))
        for number in device_numbers(packed)
        for m in packed
        if m.device_number == number
    ]
    assert read == meant


def test_a_large_request_is_closed_before_ingest_api_limit() -> None:
    outbox = [stored(i, "29", i, 1.0, sensors=900) for i in range(100)]
    packed = pack(outbox)
    assert 1 < len(packed) < 100
    assert len(body(packed)) <= MAX_BODY_BYTES


def test_one_measure_over_the_size_goes_by_itself_for_the_platform_to_refuse() -> None:
    huge = stored(0, "29", 0, 1.0, sensors=40_000)
    assert pack([huge, stored(1, "29", 1, 1.0)]) == [huge]


@given(MEASURES.filter(lambda rows: len(rows) > 1))
def test_halves_are_both_smaller_and_together_the_whole(outbox: list[StoredMeasure]) -> None:
    first, second = halves(outbox)
    assert [*first, *second] == outbox
    assert first
    assert second


def test_numbers_without_a_word_in_json_travel_as_text() -> None:
    values = {"a": float("nan"), "b": float("inf"), "c": float("-inf"), "d": 1, "e": 0.1, "f": None, "g": True}
    read = {entry["sensorName"]: entry["sensorValue"] for entry in json.loads(sensor_values_json(values))}
    assert read == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 1, "e": 0.1, "f": None, "g": True}


def test_a_lone_surrogate_cannot_be_stored() -> None:
    with pytest.raises(UnstorableMeasureError):
        sensor_values_json({"\ud800": 1})
