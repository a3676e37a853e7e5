"""The table of rules: each rule's examples, both ways of validation, and what is no rule at all."""

from collections import Counter
from dataclasses import replace
from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from validator_support.builders import DEVICE, NOW, SENSORS, context, context_of
from validator_support.strategies import (
    WOUNDED_DEVICES,
    WOUNDED_TIMES,
    measure_text,
    wide_contexts,
    wide_elements,
    wide_sensors,
)

from metering_common.contract.messages import Quality
from metering_common.registry.documents import Sensor
from metering_validator.domain.cells import validate_by_cells
from metering_validator.domain.columns import validate_by_columns
from metering_validator.domain.context import Context, Limits, Window
from metering_validator.domain.examples import Example
from metering_validator.domain.received import read_element
from metering_validator.domain.result import Result
from metering_validator.domain.rule_table import (
    Effect,
    Moment,
    Named,
    Numbers,
    Phase,
    Rule,
    Times,
    asked_once,
    gives_up,
    not_in_columns,
    rule,
)
from metering_validator.domain.rules import TABLE
from metering_validator.domain.validation import validate

pytestmark = pytest.mark.fast

RULES = [pytest.param(rule, id=rule.id) for rule in TABLE]
REFUSING = [pytest.param(rule, id=rule.id) for rule in TABLE if rule.effect in (Effect.REFUSED, Effect.COUNTED)]


def outcome_of(example: Example) -> Result:
    return validate(example.element(NOW), context_of(example))


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_applies_to_its_examples_and_passes_the_others(rule: Rule[Any]) -> None:
    assert [rule.id in outcome_of(example).findings_per_rule for example in rule.applies_to] == [True] * len(
        rule.applies_to
    )
    assert [rule.id in outcome_of(example).findings_per_rule for example in rule.passes] == [False] * len(rule.passes)


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_applies_to_has_its_effect(rule: Rule[Any]) -> None:
    for example in rule.applies_to:
        counts, rows = outcome_of(example).validated.counts, outcome_of(example).validated.rows
        assert (counts.refused > 0) == (rule.effect in (Effect.REFUSED, Effect.COUNTED))
        assert (counts.not_taken > 0) == (rule.effect is Effect.NOT_TAKEN)
        assert (rule.effect is Effect.KEPT) == any(rule.quality <= max(row.quality, default=-1) for row in rows)


def check_both_ways(value: bytes, context_: Context) -> Result:
    """Returns the result by cells; the one by columns, where there is one, is the same to the byte."""
    by_cells, by_columns = validate_by_cells(read_element(value), context_), validate_by_columns(value, context_)
    if by_columns is not None:
        assert msgspec.json.encode(by_columns.validated) == msgspec.json.encode(by_cells.validated)
        assert msgspec.json.encode(by_columns.outcome) == msgspec.json.encode(by_cells.outcome)
        assert by_columns.findings_per_rule == by_cells.findings_per_rule
    return by_cells


@pytest.mark.parametrize("rule", RULES)
def test_each_example_has_the_same_result_both_ways(rule: Rule[Any]) -> None:
    for example in (*rule.applies_to, *rule.passes):
        check_both_ways(example.element(NOW), context_of(example))


def with_a_wounded_time(value: str, turn: int) -> str:
    """Returns the element with one more measure, whose time is each of the wrong ones in turn."""
    wounded = measure_text(WOUNDED_TIMES[turn % len(WOUNDED_TIMES)], ['{"sensorName":"Corriente A","sensorValue":1}'])
    return value.replace('"measures":[', f'"measures":[{wounded},', 1)


def test_wide_draws_have_the_same_result_both_ways_and_hit_every_rule() -> None:
    hits: Counter[str] = Counter()
    turns = count()

    @settings(max_examples=400, deadline=None, derandomize=True)
    @given(wide_elements, wide_sensors, wide_contexts)
    def both_ways(value: str, sensors: tuple[Sensor, ...], terms: dict[str, Any]) -> None:
        turn = next(turns)
        drawn = context(sensors=sensors, **terms)
        wounded = context(sensors=sensors, **terms | {"device": WOUNDED_DEVICES[turn % len(WOUNDED_DEVICES)]})
        for one, where in ((value, drawn), (with_a_wounded_time(value, turn), drawn), (value, wounded)):
            hits.update(check_both_ways(one.encode(), where).findings_per_rule.keys())
            hits["clean"] += validate_by_columns(one.encode(), where) is not None

    both_ways()
    print("draws that hit:", dict(sorted(hits.items())))  # noqa: T201  the coverage by rule is to be seen (pytest -s)
    assert {rule.id for rule in TABLE} <= hits.keys()
    assert min(hits.values()) >= 5
    assert hits["clean"] >= 40


CONTEXT = context()
edges = st.sampled_from([0, NOW, NOW + 900, NOW + 901, NOW - 400 * 86_400, 10**11 - 1, 10**11]) | st.integers(
    -9, 10**12
)
limits = st.builds(
    Limits,
    st.builds(Window, st.integers(0, 2_000), st.integers(0, 500 * 86_400)),
    max_measures=st.integers(1, 4),
    max_values=st.integers(1, 20),
    max_span_seconds=st.integers(0, 100_000),
)


def columns_of_times(times: list[int], sizes: list[int]) -> tuple[Times, list[Moment]]:
    newest, values, moments = max(times), 0, []
    for place, (timestamp, size) in enumerate(zip(times, sizes, strict=False)):
        values += size
        moments.append(Moment(place, timestamp, newest, values))
    return Times(min(times), newest, len(times), values), moments


@settings(max_examples=300, deadline=None)
@given(st.lists(edges, min_size=1, max_size=6), st.lists(st.integers(0, 9), min_size=6, max_size=6), limits)
def test_a_check_of_times_never_misses_what_its_rule_applies_to(
    times: list[int], sizes: list[int], limits: Limits
) -> None:
    column, moments = columns_of_times(times, sizes)
    terms = replace(CONTEXT, limits=limits)
    for one in TABLE.of(Phase.TIME):
        applies = any(one.applies(moment, terms) for moment in moments)
        assert one.may_apply(column, terms) or not applies, one.id


@settings(max_examples=300, deadline=None)
@given(wide_sensors, st.integers(0, 4), st.lists(st.integers(-320, 210).map(float), min_size=1, max_size=4))
def test_a_check_of_numbers_never_misses_what_its_rule_applies_to(
    sensors: tuple[Sensor, ...], which: int, numbers: list[float]
) -> None:
    sensor = sensors[which]
    column = Numbers.of(sensor, numbers)
    for one in TABLE.of(Phase.QUALITY):
        applies = any(one.applies(number, sensor) for number in column.numbers)
        assert (one.concerns(sensor) and one.may_apply(column, CONTEXT)) or not applies, one.id
    for one in TABLE.of(Phase.VALUE):
        applies = any(
            one.applies(Named(has_name=True, sensor=sensor), number, None, CONTEXT) for number in column.numbers
        )
        assert (one.concerns(sensor) and one.may_apply(column, CONTEXT)) or not applies, one.id


CLEAN = Example()


@pytest.mark.parametrize("rule", RULES)
def test_no_check_gives_up_on_what_is_plainly_good(rule: Rule[Any]) -> None:
    if rule.phase is Phase.TIME:
        assert not rule.may_apply(Times(NOW - 60, NOW, 2, 60), context())
    elif rule.phase in (Phase.VALUE, Phase.QUALITY):
        assert not rule.may_apply(Numbers.of(SENSORS[3], [20.0, 21.0]), context())
    else:
        assert validate_by_columns(CLEAN.element(NOW), context_of(CLEAN)) is not None


def test_a_phase_is_asked_only_where_a_rule_concerns_the_sensor() -> None:
    plain, ranged = SENSORS[0], SENSORS[3]
    assert TABLE.concerning(plain, Phase.VALUE, Phase.QUALITY) == ()
    assert [rule.id for rule in TABLE.concerning(ranged, Phase.VALUE, Phase.QUALITY)] == ["RV-13", "RV-14"]


def a_rule(**changes: Any) -> None:
    def applies(_named: Named, _number: float | None, _later: float | None, _context: Context) -> bool:
        """A source."""
        return False

    terms = {"phase": Phase.VALUE, "english": "e", "spanish": "s", "applies_to": [Example()], "passes": [Example()]}
    rule("RV-99", "a-code", **{**terms, "column": not_in_columns, **changes})(applies)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"column": None}, "how a whole column is checked"),
        ({"column": asked_once}, "asked_once"),
        ({"phase": Phase.SENSOR}, "asked_once"),
        ({"applies_to": []}, "example"),
        ({"passes": []}, "example"),
    ],
)
def test_a_rule_that_says_too_little_fails_where_it_is_defined(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=f"RV-99: .*{why}"):
        a_rule(**changes)
    assert "RV-99" not in {rule.id for rule in TABLE}


def test_an_id_or_a_code_is_given_once() -> None:
    with pytest.raises(ValueError, match="given twice"):
        TABLE.enter(TABLE["RV-05"])


def test_a_rule_that_gives_up_keeps_columns_away_from_its_sensors() -> None:
    assert gives_up(Numbers.of(SENSORS[0], [1.0]), context())


@pytest.mark.parametrize("rule", REFUSING)
def test_a_record_without_values_hits_only_what_is_about_the_record(rule: Rule[Any]) -> None:
    empty = b'{"deviceNumber":"29","measures":[]}'
    assert check_both_ways(empty, context(DEVICE)).findings_per_rule == {}
    assert rule.quality is Quality.GOOD
