"""The readings of one meter, from one exchange to the next: which count, which are left out, where segments begin."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.registers.model import HOUR, ROUNDING, EventKind, Readings, RegisterRules
from metering_writer.domain.registers.trials import Accepted, Ending, Trial, follows

HISTORY = 3
"""Accepted readings that a trial may look back at: two that it takes back and the one before them."""


class Segment(NamedTuple):
    """How the register comes to the first reading of a new segment."""

    kind: EventKind
    counts: float


@dataclass(slots=True)
class MeterCourse:
    """One entry per reading in every column."""

    readings: Readings
    accepted: NDArray[np.bool_]
    value: NDArray[np.float64]
    """As read, or the base while the register jitters below it."""
    kinds: dict[int, EventKind] = field(default_factory=dict)
    """Of the readings left out, by place."""
    segments: dict[int, Segment] = field(default_factory=dict)
    """By the place of their first reading; the first segment of the meter has none."""
    open_from: int | None = None
    """The last reading before what a trial near the end may still decide otherwise."""


def run_meter(rules: RegisterRules, readings: Readings) -> MeterCourse:
    """Goes through the readings once; between trials it leaps from one extraordinary step to the next."""
    course = MeterCourse(readings, np.ones(len(readings), np.bool_), readings.value.copy())
    breaks = np.flatnonzero(_breaks(rules, readings))
    place, begin = 1, 0
    while (place := _next_extraordinary(course, breaks, place)) < len(readings):
        history = _history(course, place, begin)
        accepted = _accepted(course, history)
        base, value = accepted[-1], float(readings.value[place])
        if follows(rules, base, int(readings.at[place]), value):
            course.value[place] = value if rules.net else max(base.value, value)
            place += 1
            continue
        trial = Trial(rules, accepted, readings, place)
        ending = trial.end()
        _apply(course, history, place, ending)
        if trial.open and course.open_from is None:
            course.open_from = history[-1 - ending.taken_back]
        begin = begin if ending.counts is None else place
        place += ending.left_out if ending.counts is None else 1
    return course


def _next_extraordinary(course: MeterCourse, breaks: NDArray[np.int64], place: int) -> int:
    """Returns the place, unless the one before counts as it was read: then the next one that needs a look."""
    if place > len(course.readings):
        return place
    if course.accepted[place - 1] and course.value[place - 1] == course.readings.value[place - 1]:
        following = int(np.searchsorted(breaks, place))
        return int(breaks[following]) if following < len(breaks) else len(course.readings)
    return place


def _breaks(rules: RegisterRules, readings: Readings) -> NDArray[np.bool_]:
    """Readings below the one before, or above what may have been counted since."""
    breaks = np.zeros(len(readings), np.bool_)
    step = np.diff(readings.value)
    if rules.maximum_rate is not None:
        allowed = (
            rules.maximum_rate * np.diff(readings.at) / HOUR
            + (rules.resolution or 0.0)
            + ROUNDING * np.abs(readings.value[1:])
        )
        breaks[1:] = (np.abs(step) if rules.net else step) > allowed
    if not rules.net:
        breaks[1:] |= step < 0
    return breaks


def _history(course: MeterCourse, place: int, begin: int) -> list[int]:
    """Places of the last accepted readings of the segment, the base at the end."""
    found: list[int] = []
    before = place - 1
    while before >= begin and len(found) < HISTORY:
        if course.accepted[before]:
            found.append(before)
        before -= 1
    return found[::-1]


def _accepted(course: MeterCourse, places: list[int]) -> list[Accepted]:
    return [Accepted(int(course.readings.at[place]), float(course.value[place])) for place in places]


def _apply(course: MeterCourse, history: list[int], place: int, ending: Ending) -> None:
    """Marks what is left out and where a segment begins."""
    taken_back = history[len(history) - ending.taken_back :]
    left_out = range(place, min(place + ending.left_out, len(course.readings)))
    for wrong in (*taken_back, *left_out):
        course.accepted[wrong] = False
        course.kinds[wrong] = ending.kind
    if ending.counts is not None:
        course.segments[place] = Segment(ending.kind, ending.counts)
