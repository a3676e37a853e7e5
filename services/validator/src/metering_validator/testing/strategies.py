"""What Hypothesis draws elements from: names, numbers, times, shapes, right, nearly right and wrong."""

import json

from hypothesis import strategies as st

from metering_validator.domain.context import DAY_SECONDS
from metering_validator.testing.builders import NOW, SENSORS

good_numbers = st.one_of(
    st.integers(-100, 300).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
    st.sampled_from(["-0", "-0.0", "0", "1E2", "1e-400", "192", "100", "-50"]),
)
bad_values = st.sampled_from(
    [
        "null",
        "true",
        '"1"',
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "[]",
        "[NaN]",
        '{"a":[1e400,"ñ"]}',
        "9" * 400,
        '""',
    ]
)
known_names = st.sampled_from([text for sensor in SENSORS for text in (sensor.name, sensor.alias) if text])
odd_names = st.one_of(
    st.sampled_from([" EACTIVE ", "Energi\u0301a activa acumulada", "corriente a", ""]), st.text(max_size=5)
)
good_times = st.integers(NOW - DAY_SECONDS // 2, NOW + 900).map(str)
bad_times = st.one_of(
    st.sampled_from(["null", '"1566226133"', "1.0", "1e9", "NaN", "[]", "1773241518021", "9" * 400, "-1", "0"]),
    st.integers(NOW - 500 * DAY_SECONDS, NOW + 2_000).map(str),
)
clean_entries = st.builds('{{"sensorName":{},"sensorValue":{}}}'.format, known_names.map(json.dumps), good_numbers)
odd_entries = st.one_of(
    st.builds('{{"sensorName":{},"sensorValue":{}}}'.format, odd_names.map(json.dumps), good_numbers | bad_values),
    st.builds('{{"sensorValue":{},"sensorName":{}}}'.format, bad_values, known_names.map(json.dumps)),
    st.sampled_from(["{}", "null", "7", "[]", '{"sensorName":"Corriente A"}', '{"sensorValue":1}', '{"sensorName":7}']),
    clean_entries,
)


def measure_text(time: int | str, entries: list[str]) -> str:
    return f'{{"timestamp":{time},"sensorValues":[{",".join(entries)}]}}'


def element_text(measures: list[str]) -> str:
    """JSON text of one element; UTF-8 bytes come from encoding it."""
    return f'{{"deviceNumber":"29","measures":[{",".join(measures)}]}}'


@st.composite
def mostly_clean(draw: st.DrawFn) -> str:
    """Elements of which most can be validated by columns: times of their own, few orders of sensors."""
    orders = draw(st.lists(st.lists(known_names, unique=True, max_size=5), min_size=1, max_size=3))
    measures = []
    for place in range(draw(st.integers(0, 6))):
        names = draw(st.sampled_from(orders))
        numbers = draw(st.lists(st.integers(0, 100) | st.just(-0.0), min_size=len(names), max_size=len(names)))
        entries = [
            json.dumps({"sensorName": name, "sensorValue": one}) for name, one in zip(names, numbers, strict=True)
        ]
        measures.append(measure_text(NOW - place * draw(st.sampled_from([60, 60, 60, 0])), entries))
    return element_text(measures)


any_measures = st.builds(measure_text, good_times | bad_times, st.lists(odd_entries, max_size=5))
any_elements = st.lists(any_measures, max_size=5).map(element_text)
