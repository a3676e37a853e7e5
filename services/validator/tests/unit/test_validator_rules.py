"""Each rule by its ID: what it refuses, leaves out or marks, and what it lets be."""

import json
from typing import Any

import pytest
from validator_support.builders import NOW, RECEIVED_AT_MS, context, element, measure

from metering_common.contract.limits import DAY_SECONDS
from metering_common.contract.messages import Counts, FindingKind, NotTaken, Quality
from metering_common.registry.documents import Device
from metering_validator.domain.context import Context, Limits, Window
from metering_validator.domain.result import Result
from metering_validator.domain.rule_table import Effect
from metering_validator.domain.rules import TABLE
from metering_validator.domain.validation import validate

pytestmark = pytest.mark.fast


def refused_by(result: Result) -> dict[str, int]:
    return result.outcome.rules


def validate_one(
    value: Any, name: Any = "Corriente A", timestamp: Any = NOW, context_: Context | None = None
) -> Result:
    return validate(element(measure(timestamp, (name, value))), context_ or context())


def test_a_clean_value_is_accepted() -> None:
    result = validate_one(1.5)
    assert result.validated.counts == Counts(measures=1, values=1, accepted=1)
    assert [(row.sensors, row.timestamps, row.values, row.quality) for row in result.validated.rows] == [
        ((1,), [NOW], [1.5], [])
    ]
    assert result.outcome.findings == []


@pytest.mark.parametrize("device", [None, Device(id=29, provider=2, number="29", sensors=(1,))])
def test_rv_01_an_unknown_device_refuses_every_value(device: Device | None) -> None:
    result = validate(element(measure(NOW, ("Corriente A", 1), ("Corriente C", 2))), context(device))
    assert refused_by(result) == {"RV-01": 2}
    assert result.validated.counts == Counts(measures=1, values=2, refused=2)


def test_rv_02_an_inactive_device_refuses_every_value_and_what_else_is_wrong_is_said_too() -> None:
    inactive = Device(id=29, provider=1, number="29", sensors=(1,), active=False)
    result = validate(element(measure(NOW, ("Corriente A", 1), ("Corriente B", None))), context(inactive))
    assert refused_by(result) == {"RV-02": 2, "RV-05": 1}
    assert result.validated.counts.refused == 2


def test_rv_03_a_name_outside_the_dictionary() -> None:
    result = validate_one(1, "corriente a")
    assert refused_by(result) == {"RV-03": 1}
    assert [(group.name, group.sensor) for group in result.validated.refusals] == [("corriente a", None)]


@pytest.mark.parametrize(
    "name",
    [
        "EACTIVE",
        "Energía activa acumulada",
        " Energía activa acumulada\t",
        "Energi\u0301a activa acumulada",
        " EACTIVE ",
    ],
)
def test_names_are_compared_after_nfc_and_trimming_and_an_alias_is_as_good(name: str) -> None:
    result = validate_one(10, name)
    assert [row.sensors for row in result.validated.rows] == [(3,)]


def test_rv_04_a_known_sensor_off_the_list_is_not_taken_not_looked_at_and_named_once() -> None:
    result = validate(element(measure(NOW, ("Corriente C", None)), measure("x", ("Corriente C", 1))), context())
    assert result.validated.counts == Counts(measures=2, values=2, not_taken=2)
    assert result.validated.not_taken == [NotTaken(sensor=5, count=2)]
    assert [(f.kind, f.sensor_name, f.timestamp) for f in result.outcome.findings] == [
        (FindingKind.NOT_TAKEN, "Corriente C", None)
    ]
    assert refused_by(result) == {}


@pytest.mark.parametrize("value", ["1", None, True, [1], {"a": 1}])
def test_rv_05_what_is_no_number(value: Any) -> None:
    result = validate_one(value)
    assert refused_by(result) == {"RV-05": 1}
    [group] = result.validated.refusals
    assert group.samples[0].value == json.dumps(value, separators=(",", ":"))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "1" * 400, "1" * 5_000])
def test_rv_05_what_is_no_finite_number(text: str) -> None:
    result = validate(element(measure(NOW, ("Corriente A", 0.25))).replace(b"0.25", text.encode()), context())
    assert refused_by(result) == {"RV-05": 1}
    assert result.validated.refusals[0].samples[0].value == text[:200]


def test_rv_05_a_missing_value_has_no_text() -> None:
    result = validate(element(measure(NOW, {"sensorName": "Corriente A"})), context())
    assert refused_by(result) == {"RV-05": 1}
    assert result.validated.refusals[0].samples[0].value == ""


@pytest.mark.parametrize("timestamp", [1566226133.0, "1566226133", None, True, [1], 1e30])
def test_rv_06_a_timestamp_that_is_no_integer_hurts_only_its_measure(timestamp: Any) -> None:
    result = validate(element(measure(timestamp, ("Corriente A", 1)), measure(NOW, ("Corriente A", 2))), context())
    assert refused_by(result) == {"RV-06": 1}
    assert result.validated.counts.accepted == 1
    assert result.outcome.findings[0].timestamp == json.dumps(timestamp, separators=(",", ":"))


@pytest.mark.parametrize("timestamp", [RECEIVED_AT_MS, 10**11, 10**18, 10**40])
def test_rv_07_milliseconds_are_explained_and_never_guessed(timestamp: int) -> None:
    result = validate_one(1, timestamp=timestamp)
    assert refused_by(result) == {"RV-07": 1}
    assert result.outcome.findings[0].timestamp == str(timestamp)
    assert result.validated.refusals[0].first_at is None


@pytest.mark.parametrize(
    ("timestamp", "refused"), [(NOW + 900, {}), (NOW + 901, {"RV-08": 1}), (10**11 - 1, {"RV-08": 1})]
)
def test_rv_08_the_future_ends_900_seconds_after_received_at(timestamp: int, refused: dict[str, int]) -> None:
    assert refused_by(validate_one(1, timestamp=timestamp)) == refused


OLDEST = NOW - 400 * DAY_SECONDS + 1  # received-at has 21 ms more than NOW


@pytest.mark.parametrize(
    ("timestamp", "refused"), [(OLDEST, {}), (OLDEST - 1, {"RV-09": 1}), (0, {"RV-09": 1}), (-(10**30), {"RV-09": 1})]
)
def test_rv_09_the_past_ends_400_days_before_received_at(timestamp: int, refused: dict[str, int]) -> None:
    assert refused_by(validate_one(1, timestamp=timestamp)) == refused


@pytest.mark.parametrize(
    ("source", "gateway", "refused"),
    [("http", 2, {"RV-09": 1}), ("ecl", None, {}), ("replay", 2, {"RV-09": 1}), ("replay", None, {})],
)
def test_rv_09_is_set_per_source_and_a_replay_has_the_source_it_replays(
    source: str, gateway: int | None, refused: dict[str, int]
) -> None:
    limits = Limits(http=Window(past_seconds=DAY_SECONDS), ecl=Window(past_seconds=10 * DAY_SECONDS))
    result = validate_one(
        1, timestamp=NOW - 2 * DAY_SECONDS, context_=context(limits=limits, source=source, gateway_id=gateway)
    )
    assert refused_by(result) == refused


def test_rv_10_refuses_what_is_more_than_a_day_before_the_newest_and_a_wild_clock_hurts_itself() -> None:
    times = [NOW, NOW - DAY_SECONDS, NOW - DAY_SECONDS - 1, NOW + 10**7]
    result = validate(element(*(measure(time, ("Corriente A", 1)) for time in times)), context())
    assert refused_by(result) == {"RV-08": 1, "RV-10": 1}
    assert [row.timestamps for row in result.validated.rows] == [[NOW, NOW - DAY_SECONDS]]


def test_rv_11_refuses_what_lies_beyond_the_hundredth_measure() -> None:
    result = validate(element(*(measure(NOW - n, ("Corriente A", n)) for n in range(103))), context())
    assert refused_by(result) == {"RV-11": 3}
    assert result.validated.counts == Counts(measures=103, values=103, accepted=100, refused=3)


def test_rv_12_the_last_value_for_a_sensor_and_timestamp_counts_and_equal_ones_are_repeated() -> None:
    values = [("Corriente A", 5), ("Corriente A", 6), ("Corriente B", 1), (" Corriente A ", 5.0)]
    result = validate(element(measure(NOW, *values)), context())
    assert result.validated.counts == Counts(measures=1, values=4, accepted=2, refused=1, repeated=1)
    assert refused_by(result) == {"RV-12": 1}
    assert [(row.sensors, row.values) for row in result.validated.rows] == [((2, 1), [1.0, 5.0])]
    assert result.validated.refusals[0].samples[0].value == "6"


def test_rv_12_sees_through_aliases_and_measures() -> None:
    result = validate(element(measure(NOW, ("EACTIVE", 1)), measure(NOW, ("Energía activa acumulada", 2))), context())
    assert refused_by(result) == {"RV-12": 1}
    assert [row.values for row in result.validated.rows] == [[2.0]]


def test_rv_12_a_refused_value_supersedes_nothing() -> None:
    result = validate(element(measure(NOW, ("Corriente A", 1), ("Corriente A", None))), context())
    assert refused_by(result) == {"RV-05": 1}
    assert [row.values for row in result.validated.rows] == [[1.0]]


@pytest.mark.parametrize(
    ("value", "quality", "rules"),
    [
        (100, Quality.GOOD, []),
        (100.1, Quality.IMPLAUSIBLE, ["RV-13"]),
        (-50.5, Quality.IMPLAUSIBLE, ["RV-13"]),
        (192, Quality.SENSOR_FAULT, ["RV-13", "RV-14"]),
        (1e9, Quality.SENSOR_FAULT, ["RV-13", "RV-14"]),
    ],
)
def test_rv_13_and_14_mark_what_is_kept(value: float, quality: Quality, rules: list[str]) -> None:
    result = validate(element(measure(NOW, ("Temperatura", value))), context())
    assert result.validated.counts.accepted == 1
    assert result.validated.rows[0].quality == ([int(quality)] if quality else [])
    assert [finding.rule for finding in result.outcome.findings] == rules
    assert {finding.kind for finding in result.outcome.findings} <= {FindingKind.QUALITY}
    assert refused_by(result) == {}


def test_rv_15_a_doubtful_clock_marks_all_and_is_said_once() -> None:
    doubtful = context(clock_doubtful=True)
    result = validate(element(measure(NOW, ("Corriente A", 1), ("Corriente B", 1), ("Temperatura", 500))), doubtful)
    assert result.validated.rows[0].quality == [2, 2, 3]
    assert [finding.rule for finding in result.outcome.findings] == ["RV-15", "RV-13", "RV-14"]
    assert result.findings_per_rule == {"RV-15": 1, "RV-13": 1, "RV-14": 1}


@pytest.mark.parametrize("entry", [{}, None, 7, "x", [], {"sensorName": 7, "sensorValue": 1}, {"sensorValue": 1}])
def test_rv_16_a_malformed_entry_hurts_only_itself(entry: Any) -> None:
    result = validate(element(measure(NOW, entry, ("Corriente A", 1))), context())
    assert refused_by(result) == {"RV-16": 1}
    assert result.validated.counts == Counts(measures=1, values=2, accepted=1, refused=1)
    assert result.outcome.findings[0].sensor_name is None


def test_all_that_is_wrong_with_a_value_is_said_and_it_counts_once() -> None:
    result = validate_one("no", "Nadie", RECEIVED_AT_MS)
    assert refused_by(result) == {"RV-03": 1, "RV-05": 1, "RV-07": 1}
    assert result.validated.counts == Counts(measures=1, values=1, refused=1)


def test_measures_that_name_the_same_sensors_share_a_block() -> None:
    a, b = ("Corriente A", 1), ("Corriente B", 2)
    result = validate(element(measure(NOW, a, b), measure(NOW - 60, a), measure(NOW - 120, a, ("CB", 9))), context())
    assert [(row.sensors, row.timestamps, row.values) for row in result.validated.rows] == [
        ((1, 2), [NOW, NOW - 120], [1, 2, 1, 9]),
        ((1,), [NOW - 60], [1]),
    ]


def test_refusals_are_grouped_within_bounds() -> None:
    values = [(f"nadie {n}", 1) for n in range(1_200)]
    result = validate(element(measure(NOW, *values), measure(NOW - 60, *values)), context())
    assert len(result.validated.refusals) == 100
    assert result.validated.refusals_beyond == 2_200
    assert result.validated.refusals[0].count == 2
    assert (result.validated.refusals[0].first_at, result.validated.refusals[0].last_at) == (NOW - 60, NOW)
    assert result.outcome.rules == {"RV-03": 2_400}
    assert len(result.outcome.findings) == 100


def test_the_rules_are_numbered_without_gaps_and_say_all_of_themselves() -> None:
    rules = list(TABLE)
    assert [rule.id for rule in rules] == [f"RV-{number:02}" for number in range(1, len(rules) + 1)]
    assert len({rule.code for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.english
        assert rule.spanish
        assert rule.source
        assert (rule.quality is not Quality.GOOD) == (rule.effect is Effect.KEPT)
