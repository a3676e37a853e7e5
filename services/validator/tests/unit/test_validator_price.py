"""What a value costs, in steps: bounded for whatever a sender makes of it, and memory bounded by bytes."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from validator_support.builders import NOW, SENSORS, context, element, measure
from validator_support.steps import steps_of
from validator_support.strategies import clean_entries, element_text, measure_text, odd_entries

from metering_validator.domain.context import Context
from metering_validator.domain.dictionary import MAX_PLAN_BYTES, PlanCache
from metering_validator.domain.validation import validate

pytestmark = pytest.mark.fast

FIRST_REFUSALS = 60_000
"""Steps that a record's first refusals may take beside: 100 findings, 100 groups with three samples each."""
MOST_PER_VALUE = 260
"""Of the dearest shape: a body in which all measures have one timestamp and every value is superseded by another."""
MOST_PER_CLEAN_VALUE = 60

MEASURES = 30


def steps(value: bytes, context_: Context) -> int:
    return steps_of(lambda: validate(value, context_))


def body(entries: list[list[str]], same_time: bool, measures: int) -> bytes:  # noqa: FBT001  drawn by Hypothesis
    times = [NOW if same_time else NOW - 60 * place for place in range(measures)]
    return element_text(
        [measure_text(time, entries[place % len(entries)]) for place, time in enumerate(times)]
    ).encode()


@settings(max_examples=10, deadline=None)
@given(st.lists(st.lists(odd_entries | clean_entries, min_size=10, max_size=30), min_size=1, max_size=3), st.booleans())
def test_a_value_costs_a_bounded_number_of_steps_whatever_it_is(entries: list[list[str]], same_time: bool) -> None:  # noqa: FBT001
    value = body(entries, same_time, MEASURES)
    values = validate(value, context()).validated.counts.values
    assert steps(value, context()) <= FIRST_REFUSALS + MOST_PER_VALUE * values


def test_a_clean_value_costs_few_steps() -> None:
    rows = [measure(NOW - 60 * place, *((sensor.name, 20) for sensor in SENSORS)) for place in range(40)]
    validate(element(*rows), context())
    assert steps(element(*rows), context()) <= MOST_PER_CLEAN_VALUE * 40 * len(SENSORS)


@pytest.mark.parametrize("entry", ["0", "{}", '{"sensorName":"Nadie","sensorValue":1}'])
def test_a_monster_is_counted_and_not_looked_at(entry: str) -> None:
    """Half a million values in one measure: ingest-api refuses it, but it may come by another way."""
    count = 1_000_000 // (len(entry) + 1)
    monster = measure_text(NOW, [entry] * count)
    result = validate(element_text([monster]).encode(), context())
    assert (result.validated.counts.values, result.validated.counts.refused) == (count, count)
    assert result.outcome.rules == {"RV-17": count}
    assert steps(element_text([monster]).encode(), context()) < 5_000


def test_measures_within_the_limit_of_values_are_taken_beside_a_monster() -> None:
    good = measure_text(NOW - 60, ['{"sensorName":"Corriente A","sensorValue":1}'])
    result = validate(element_text([good, measure_text(NOW, ["0"] * 10_000)]).encode(), context())
    assert (result.validated.counts.accepted, result.outcome.rules) == (1, {"RV-17": 10_000})


def test_what_is_remembered_of_orders_of_names_is_bounded_by_bytes() -> None:
    plans = PlanCache()
    for number in range(20_000):
        plans.get(tuple(f"{number} {name}" for name in range(30)), (1,), lambda _names: None)
        assert plans.bytes <= MAX_PLAN_BYTES
    plans.get(("x",) * 1_000_000, (1,), lambda _names: None)
    assert plans.bytes <= MAX_PLAN_BYTES


def test_what_a_sender_invents_is_not_remembered() -> None:
    given_context = context()
    before = given_context.dictionary.plans.bytes
    for number in range(50):
        names = [json.dumps(f"Nadie {number} {place}") for place in range(30)]
        entries = [f'{{"sensorName":{name},"sensorValue":1}}' for name in names]
        validate(element_text([measure_text(NOW, entries)]).encode(), given_context)
    assert given_context.dictionary.plans.bytes == before
