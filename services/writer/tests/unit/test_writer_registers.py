"""What a register counted, as docs/consumption.md defines it: each fault that was seen, and what always holds."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metering_writer.domain.registers import (
    EventKind,
    Exchange,
    Readings,
    RegisterRules,
    adjusted_at,
    classify_register,
)
from metering_writer.domain.registers.model import HOUR

PLAIN = RegisterRules()
CAPACITY = RegisterRules(capacity=100_000)
NET = RegisterRules(net=True)


def hourly(values: Sequence[float]) -> Readings:
    return Readings(np.arange(len(values), dtype=np.int64) * HOUR, np.array(values, np.float64))


def counted(rules: RegisterRules, readings: Readings) -> tuple[float, list[EventKind], bool]:
    """The whole consumption, the kinds of the events and whether one of them is provisional."""
    course = classify_register(rules, readings)
    whole = adjusted_at(course, int(readings.at[-1])) - adjusted_at(course, int(readings.at[0]))
    kinds: list[EventKind] = [event.kind for event in course.events if event.kind is not EventKind.GAP]
    return whole, kinds, any(event.provisional for event in course.events)


@pytest.mark.parametrize(
    ("rules", "values", "right", "kinds", "provisional"),
    [
        pytest.param(PLAIN, (42255.60, 42255.67, 42255.63, 42255.70), 0.10, ["jitter", "jitter"], False, id="jitter"),
        pytest.param(PLAIN, (3736, 3737, 0, 3746), 10, ["dip"], True, id="dip"),
        pytest.param(PLAIN, (810, 812.4, 811.9, 812.6), 2.6, ["jitter", "jitter"], False, id="larger-jitter"),
        pytest.param(PLAIN, (100, 100.5, 4294967.295, 101), 1, ["spike"], True, id="spike-while-provisional"),
        pytest.param(PLAIN, (100, 100.5, 4294967.295, 101, 101.5, 102, 102.5), 2.5, ["spike"], False, id="spike"),
        pytest.param(PLAIN, (1234.0, 1234.5, 1235000, 1235.5), 1.5, ["spike"], True, id="one-reading-in-Wh"),
        pytest.param(NET, (5000, 4999.5, 4999, 4998.5), -1.5, [], False, id="net"),
        pytest.param(CAPACITY, (80000, 80000.5, 0.2, 0.7), 0.5, ["dip"], True, id="reset-not-yet-confirmed"),
        pytest.param(CAPACITY, (80000, 80000.5, 0.2, 0.7, 0.7, 0.7), 1.2, ["reset"], False, id="reset"),
        pytest.param(CAPACITY, (99999.5, 0.7), 1.2, ["roll-over"], True, id="roll-over"),
        pytest.param(CAPACITY, (99999.5, 0.7, 99999.6, 99999.7, 99999.8), 0.3, ["dip"], False, id="no-roll-over"),
        pytest.param(CAPACITY, (42255.67, 42255.63), 0, ["jitter"], False, id="neither"),
        pytest.param(PLAIN, (100, 80, 81, 82, 83), 3, ["reset"], False, id="reset-too-high-to-count-from-0"),
        pytest.param(
            replace(PLAIN, maximum_rate=10.0), (100, 9, 10, 11, 12), 12, ["reset"], False, id="rate-permits-from-0"
        ),
        pytest.param(replace(PLAIN, maximum_rate=10.0), (100, 11, 12, 13, 14), 3, ["reset"], False, id="rate-forbids"),
        pytest.param(replace(PLAIN, maximum_rate=2.0), (100, 500, 501, 502, 503), 3, ["jump"], False, id="jump"),
        pytest.param(replace(PLAIN, maximum_rate=2.0), (100, 500, 501), 0, ["spike"], True, id="jump-not-yet"),
        pytest.param(replace(PLAIN, maximum_rate=2.0), (100, 900, 101, 102, 103), 3, ["spike"], False, id="too-fast"),
        pytest.param(replace(NET, maximum_rate=2.0), (10, 9, -500, 8, 7, 6), -4, ["dip"], False, id="net-dip"),
        pytest.param(replace(NET, maximum_rate=2.0), (10, 9, -5, -6, -7, -8), -4, ["jump"], False, id="net-jump"),
        pytest.param(PLAIN, (100, 0, 1, 2, 200, 201, 202), 102, ["dip"], False, id="fall-that-nothing-explains"),
        pytest.param(PLAIN, (100, 50, 101), 1, ["dip"], True, id="dip-at-the-end"),
        pytest.param(PLAIN, (100, 50), 0, ["dip"], True, id="fall-at-the-end"),
    ],
)
def test_what_was_seen_counts_what_is_right(
    rules: RegisterRules, values: Sequence[float], right: float, kinds: Sequence[str], *, provisional: bool
) -> None:
    whole, found, open_ = counted(rules, hourly(values))
    assert whole == pytest.approx(right, abs=1e-9)
    assert found[: len(kinds)] == kinds
    assert open_ == provisional


@pytest.mark.parametrize(
    ("closing", "opening", "right"), [(None, None, 2), (801.5, None, 2.5), (None, 12344, 3), (801.5, 12344, 3.5)]
)
def test_an_exchange_counts_what_is_known_of_it(closing: float | None, opening: float | None, right: float) -> None:
    rules = RegisterRules(exchanges=(Exchange(3 * HOUR // 2, closing, opening),))
    readings = hourly((800, 801, 12345, 12346))
    assert counted(rules, readings)[0] == pytest.approx(right)
    course = classify_register(rules, readings)
    hole = [event for event in course.events if event.estimated]
    assert sum(event.step for event in hole) == 0
    assert bool(hole) == (closing is None or opening is None)


def test_a_reading_at_the_exchange_is_the_old_meters() -> None:
    assert counted(RegisterRules(exchanges=(Exchange(HOUR),)), hourly((800, 801, 5, 6, 7, 8)))[0] == 4


def test_no_confirmation_crosses_an_exchange() -> None:
    """The fall before it is not proven by what the new meter reads; it stays what it was, and is not provisional."""
    rules = RegisterRules(exchanges=(Exchange(3 * HOUR, None, None),))
    assert counted(rules, hourly((800, 801, 5, 6, 10, 11))) == (2, ["dip", "exchange"], False)


def test_silent_hours_are_spread_and_estimated() -> None:
    rules = RegisterRules(interval_seconds=3_600)
    course = classify_register(rules, Readings(np.array([0, HOUR, 6 * HOUR]), np.array([10.0, 11.0, 16.0])))
    assert [adjusted_at(course, hour * HOUR) for hour in range(7)] == [10, 11, 12, 13, 14, 15, 16]
    gaps = [(event.kind, event.since, event.step, event.estimated) for event in course.events]
    assert gaps == [("gap", 0, 1.0, False), ("gap", HOUR, 5.0, True)]


def test_nothing_is_extrapolated() -> None:
    course = classify_register(PLAIN, hourly((5, 6)))
    assert (adjusted_at(course, -HOUR), adjusted_at(course, 9 * HOUR)) == (5, 6)


STEPS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0])


@st.composite
def true_registers(draw: st.DrawFn) -> tuple[RegisterRules, list[float]]:
    """A rising register and what may be known of it."""
    steps = draw(st.lists(STEPS, min_size=12, max_size=25))
    start = draw(st.sampled_from([0.0, 5.0, 1_000.0, 80_000.0, 99_990.0]))
    rules = RegisterRules(
        capacity=draw(st.sampled_from([None, 100_100.0])),
        resolution=draw(st.sampled_from([None, 0.001, 0.1])),
        maximum_rate=draw(st.sampled_from([None, 3.0, 50.0])),
    )
    return rules, [start + sum(steps[:number]) for number in range(len(steps) + 1)]


def wrong_readings(
    data: st.DataObject, rules: RegisterRules, true: Sequence[float], first: int, count: int
) -> dict[int, float]:
    """Each below the reading before, or above the three that follow, by more than tolerance."""
    low, high = true[first - 1], true[first + count + 2]
    chosen = {}
    for place in range(first, first + count):
        factor = data.draw(st.sampled_from([0.0, 0.3, 0.9, 0.99, 1.01, 1.5, 1_000.0, 1e6]))
        wrong = low * factor if factor < 1 else high * factor
        margin = rules.tolerance(max(wrong, low)) + 1e-6
        assume(wrong < low - margin if factor < 1 else wrong > high + margin)
        chosen[place] = wrong
    return chosen


@settings(max_examples=60, deadline=None)
@given(true_registers(), st.data())
def test_wrong_readings_change_no_figure(known: tuple[RegisterRules, list[float]], data: st.DataObject) -> None:
    rules, true = known
    first, count = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2))
    wrong = wrong_readings(data, rules, true, first, count)
    if data.draw(st.booleans()):
        wrong |= wrong_readings(data, rules, true, first + count + 3, data.draw(st.integers(1, 2)))
    at = np.arange(len(true), dtype=np.int64) * HOUR
    right = np.array([place not in wrong for place in range(len(true))])
    without = classify_register(rules, Readings(at[right], np.array(true)[right]))
    disturbed = classify_register(rules, hourly([wrong.get(place, value) for place, value in enumerate(true)]))
    for instant in range(0, len(true) * HOUR, HOUR // 2):
        assert adjusted_at(disturbed, instant) == pytest.approx(adjusted_at(without, instant), rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(true_registers(), st.data())
def test_a_reading_that_is_too_fast_changes_no_figure(
    known: tuple[RegisterRules, list[float]], data: st.DataObject
) -> None:
    """Also where the register itself soon passes it."""
    rules, true = replace(known[0], maximum_rate=3.0), known[1]
    place = data.draw(st.integers(1, len(true) - 4))
    wrong = true[place - 1] + 3.0 + (rules.resolution or 0) + 0.01
    at = np.arange(len(true), dtype=np.int64) * HOUR
    without = classify_register(rules, Readings(np.delete(at, place), np.delete(true, place)))
    disturbed = classify_register(rules, hourly([*true[:place], wrong, *true[place + 1 :]]))
    for instant in range(0, len(true) * HOUR, HOUR // 2):
        assert adjusted_at(disturbed, instant) == pytest.approx(adjusted_at(without, instant), rel=1e-9, abs=1e-9)


WILD = st.sampled_from([0.0, 0.2, 5.0, 99.9, 100.0, 100.05, 101.0, 103.0, 500.0, 999.5, 4294967.295])
KNOWN = st.sampled_from([None, 1.0, 300.0])


@st.composite
def wild_registers(draw: st.DrawFn) -> tuple[RegisterRules, Readings]:
    """Anything at all, at irregular times."""
    values = draw(st.lists(WILD, min_size=1, max_size=30))
    at = np.cumsum([draw(st.sampled_from([60, 3_600, 7_200, 90_000])) * 1_000_000 for _ in values])
    exchanges = draw(
        st.lists(
            st.builds(Exchange, st.integers(0, int(at[-1])), KNOWN, KNOWN), max_size=2, unique_by=lambda one: one.at
        )
    )
    rules = RegisterRules(
        net=draw(st.booleans()), capacity=draw(st.sampled_from([None, 1_000.0])),
        resolution=draw(st.sampled_from([None, 0.1])), maximum_rate=draw(st.sampled_from([None, 3.0])),
        interval_seconds=draw(st.sampled_from([None, 3_600])), exchanges=tuple(exchanges),
    )  # fmt: skip
    return rules, Readings(at.astype(np.int64), np.array(values))


@settings(max_examples=60, deadline=None)
@given(wild_registers(), st.lists(st.integers(0, 31 * 90_000 * 1_000_000), min_size=1, max_size=12))
def test_parts_add_up_and_nothing_counts_below_0(known: tuple[RegisterRules, Readings], cuts: list[int]) -> None:
    course = classify_register(*known)
    edges = sorted({0, *cuts, 40 * 90_000 * 1_000_000})
    parts = [adjusted_at(course, after) - adjusted_at(course, before) for before, after in pairwise(edges)]
    whole = adjusted_at(course, edges[-1]) - adjusted_at(course, edges[0])
    assert sum(parts) == pytest.approx(whole, rel=1e-9, abs=1e-5)
    assert known[0].net or min(parts) >= -1e-9


@settings(max_examples=60, deadline=None)
@given(wild_registers())
def test_events_touch_but_never_overlap(known: tuple[RegisterRules, Readings]) -> None:
    events = classify_register(*known).events
    assert all(event.since < event.upto for event in events)
    assert all(one.upto <= other.since for one, other in pairwise(events))
