"""What Hypothesis draws elements from: names, numbers, times, shapes, right, nearly right and wrong."""

import json
from random import Random

import msgspec
from hypothesis import strategies as st

from metering_common.contract.limits import DAY_SECONDS
from metering_common.registry.documents import Device, Sensor, SensorKind
from metering_validator.domain.context import Limits
from validator_support.builders import DEVICE, NOW, RECEIVED_AT_MS, SENSORS

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


# Draws for the table of rules: any sensor may have a range, faults and a register, and each record one or two wounds.

near = st.sampled_from([-300.0, -128.0, -127.0, -50.5, -50.0, -0.0, 0.0, 1.5, 99.9, 100.0, 100.1, 192.0, 1e9])


def _dictionary(random: Random) -> tuple[Sensor, ...]:
    """The builders' sensors, with ranges, faults and registers of chance: a list of them is drawn from quickly."""
    edges = [None, -300.0, -127.0, -50.0, 0.0, 1.5, 100.0, 192.0]
    pairs = [(low, high) for low in edges for high in edges if (low or high) is not None]
    closed = [(low, high) for low, high in pairs if low is None or high is None or low <= high]
    return tuple(
        msgspec.structs.replace(
            known,
            kind=random.choice(list(SensorKind)),
            minimum=random.choice([None, -50.0, 0.0]),
            maximum=random.choice([None, 100.0, 1e6]),
            faults=tuple(random.choices(closed, k=random.choice([0, 0, 1, 2]))),
            capacity=random.choice([None, 1e5]),
        )
        for known in SENSORS
    )


wide_dictionaries = [_dictionary(Random(seed)) for seed in range(60)]
wide_sensors = st.sampled_from(wide_dictionaries)
WOUNDED_DEVICES = [
    Device(id=29, provider=1, number="29", sensors=(1, 2, 3, 4, 5), active=False),
    Device(id=29, provider=9, number="29", sensors=(1,)),
    None,
]
wide_contexts = st.fixed_dictionaries(
    {
        "device": st.sampled_from(
            [DEVICE] * 12
            + [
                Device(id=29, provider=1, number="29", sensors=(1, 2, 3, 4, 5)),
                Device(id=29, provider=1, number="29", sensors=(5,)),
                *WOUNDED_DEVICES,
            ]
        ),
        "limits": st.sampled_from([Limits()] * 4 + [Limits(max_measures=2), Limits(max_values=6)]),
        "clock_doubtful": st.sampled_from([False] * 6 + [True]),
        "received_at_ms": st.sampled_from([RECEIVED_AT_MS, RECEIVED_AT_MS - 21]),
    }
)
wide_numbers = st.integers(-400, 400).map(str) | near.map(json.dumps)
wide_times = st.integers(0, 300).map(lambda back: str(NOW - back)) | st.just(str(NOW - 60))
WOUNDED_TIMES = [
    str(NOW + 900),
    str(NOW + 901),
    str(NOW + 5_000),
    str(10**11 - 1),
    str(NOW - 500 * DAY_SECONDS),
    str(NOW - DAY_SECONDS),
    str(NOW - 400 * DAY_SECONDS),
    str(NOW * 1_000),
    "1.0",
    '"1"',
]
wounded_times = st.sampled_from(WOUNDED_TIMES)


@st.composite
def _wide_element(draw: st.DrawFn) -> str:
    """Well-formed measures in one order of names, of which one may have a wound: an entry, its time, or both."""
    names = draw(st.lists(known_names, unique=True, min_size=1, max_size=4))
    measures = []
    count = draw(st.integers(1, 4))
    wounded = draw(st.integers(0, count - 1))
    wound = draw(st.sampled_from(["none", "entry", "time", "time", "both"]))
    for place in range(count):
        entries = [f'{{"sensorName":{json.dumps(name)},"sensorValue":{draw(wide_numbers)}}}' for name in names]
        time = draw(wide_times)
        if place == wounded and wound in ("entry", "both"):
            entries[draw(st.integers(0, len(entries) - 1))] = draw(odd_entries)
        if place == wounded and wound in ("time", "both"):
            time = draw(wounded_times)
        measures.append(measure_text(time, entries))
    return element_text(measures)


wide_elements = _wide_element()
