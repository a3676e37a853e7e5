"""A register from its first reading to its last: meters one after another, and the events that lie in it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.registers.meter import MeterCourse, run_meter
from metering_writer.domain.registers.model import STORED_STEP, Event, EventKind, Readings, RegisterRules


class RegisterCourse(NamedTuple):
    """What the readings say, all decisions made."""

    readings: Readings
    first_offset: float
    """What is added to the readings before the first event."""
    events: list[Event]
    """In order of time."""


class _Meter(NamedTuple):
    """The readings between two exchanges, with the announced ones at its ends."""

    readings: Readings
    opened: bool
    """The first reading is an announced opening one."""
    closed: bool
    """The last reading is an announced closing one."""


def classify_register(rules: RegisterRules, readings: Readings, offset: float = 0.0) -> RegisterCourse:
    """Says what each reading is: events between readings, outside of which reading plus offset is the register.

    `offset` is added to the first reading. Exchanges before the first reading say nothing about these readings,
    unless they bring one of their own.
    """
    meters = [meter for meter in _meters(rules, readings) if len(meter.readings)]
    events: list[Event] = []
    end: tuple[int, float, float | None] | None = None
    for number, meter in enumerate(meters):
        course = run_meter(rules, meter.readings)
        points = _Points.of(course, end, offset)
        if end is not None and end[0] < meter.readings.at[0]:
            events.append(_hole(end, meter, float(points.adjusted[0]), float(points.offset[0])))
        events.extend(_events(rules, course, points, meter, is_last=number == len(meters) - 1))
        end = int(meter.readings.at[-1]), float(points.adjusted[-1]), float(meter.readings.value[-1])
    return RegisterCourse(readings, offset, events)


def adjusted_at(course: RegisterCourse, instant: int) -> float:
    """The adjusted register at an instant; before the first reading the first, after the last one the last."""
    event = next((event for event in reversed(course.events) if event.since <= instant), None)
    if event is not None and instant <= event.upto:
        return event.start + event.step * (instant - event.since) / (event.upto - event.since)
    if event is None and course.events and course.events[0].since < course.readings.at[0]:
        return course.events[0].start
    offset = course.first_offset if event is None else event.offset
    at, value = course.readings.at, course.readings.value
    after = int(np.searchsorted(at, instant))
    if after == len(at):
        return _end(course)
    if after == 0 or at[after] == instant:
        return float(value[after]) + offset
    share = (instant - int(at[after - 1])) / (int(at[after]) - int(at[after - 1]))
    return float(value[after - 1]) + offset + share * float(value[after] - value[after - 1])


def _end(course: RegisterCourse) -> float:
    """The adjusted register at the last reading."""
    last = course.events[-1] if course.events else None
    if last is not None and last.upto >= course.readings.at[-1]:
        return last.start + last.step
    return float(course.readings.value[-1]) + (course.first_offset if last is None else last.offset)


def _meters(rules: RegisterRules, readings: Readings) -> Iterator[_Meter]:
    start, opening = 0, None
    exchanges = sorted(rules.exchanges)
    for exchange in exchanges:
        end = int(np.searchsorted(readings.at, exchange.at, side="right"))
        yield _meter(readings.part(start, end), opening, (exchange.at, exchange.closing))
        start, opening = end, (exchange.at, exchange.opening)
    yield _meter(readings.part(start, len(readings)), opening, None)


def _meter(
    readings: Readings, opening: tuple[int, float | None] | None, closing: tuple[int, float | None] | None
) -> _Meter:
    """An announced reading takes the place of one at the same time."""
    at, value = readings.at, readings.value
    last = None if closing is None else closing[1]
    first = None if opening is None else opening[1]
    if closing is not None and last is not None:
        kept = at < closing[0]
        at, value = np.append(at[kept], closing[0]), np.append(value[kept], last)
    if opening is not None and first is not None:
        at, value = np.insert(at, 0, opening[0]), np.insert(value, 0, first)
    return _Meter(Readings(at.astype(np.int64), value.astype(np.float64)), first is not None, last is not None)


class _Points(NamedTuple):
    """The accepted readings of a meter, one entry each."""

    place: NDArray[np.int64]
    at: NDArray[np.int64]
    adjusted: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def of(cls, course: MeterCourse, end: tuple[int, float, float | None] | None, offset: float) -> "_Points":
        """The first reading of a meter continues where the meter before it ended."""
        place = np.flatnonzero(course.accepted)
        value = course.value[place]
        offsets = np.full(len(place), offset if end is None else end[1] - value[0])
        for first, segment in sorted(course.segments.items()):
            index = int(np.searchsorted(place, first))
            if index < len(place) and place[index] == first:
                offsets[index:] = value[index - 1] + offsets[index - 1] + segment.counts - value[index]
        return cls(place, course.readings.at[place], value + offsets, offsets)


def _hole(end: tuple[int, float, float | None], meter: _Meter, start: float, offset: float) -> Event:
    """Between the last reading of one meter and the first of the next nothing is known: it counts 0."""
    return Event(
        EventKind.EXCHANGE, end[0], int(meter.readings.at[0]), end[2], float(meter.readings.value[0]),
        start, 0.0, offset, estimated=True, provisional=False,
    )  # fmt: skip


def _events(
    rules: RegisterRules, course: MeterCourse, points: _Points, meter: _Meter, *, is_last: bool
) -> Iterator[Event]:
    """The steps between accepted readings in which something else lies than a rise, and what is left out at the end."""
    open_from = course.open_from if is_last and course.open_from is not None else len(course.readings)
    indexes = _remarkable(rules, course, points, meter, open_from)
    position = 0
    while position < len(indexes):
        first = last = int(indexes[position])
        if _is_clamped(course, points, first + 1):
            while position + 1 < len(indexes) and _is_clamped(course, points, int(indexes[position + 1]) + 1):
                position += 1
                last = int(indexes[position])
        position += 1
        provisional = bool(points.place[last + 1] > open_from)
        yield _step(rules, course, points, meter, (first, last + 1), provisional=provisional)
    if points.place[-1] < len(course.readings) - 1:
        yield _tail(course, points, meter, provisional=is_last)


def _remarkable(
    rules: RegisterRules, course: MeterCourse, points: _Points, meter: _Meter, open_from: int
) -> NDArray[np.int64]:
    """Indexes of the points at which such a step begins."""
    clamped = course.value[points.place] != course.readings.value[points.place]
    marked = (np.diff(points.place) > 1) | clamped[1:] | clamped[:-1] | (points.place[1:] > open_from)
    marked |= np.diff(points.offset) != 0
    marked |= np.isin(points.place[1:], list(course.segments))
    marked |= (np.diff(points.at) > rules.long_step) | (np.diff(points.at) >= STORED_STEP)
    if len(marked) and meter.opened:
        marked[0] = True
    if len(marked) and meter.closed:
        marked[-1] = True
    return np.flatnonzero(marked)


def _is_clamped(course: MeterCourse, points: _Points, index: int) -> bool:
    place = points.place[index]
    return bool(course.value[place] != course.readings.value[place])


def _step(
    rules: RegisterRules, course: MeterCourse, points: _Points, meter: _Meter, span: tuple[int, int], *,
    provisional: bool,
) -> Event:  # fmt: skip
    first, last = span
    since, upto = int(points.at[first]), int(points.at[last])
    places = int(points.place[first]), int(points.place[last])
    start, end = float(points.adjusted[first]), float(points.adjusted[last])
    return Event(
        _kind(course, meter, places), since, upto,
        float(course.readings.value[places[0]]), float(course.readings.value[places[1]]),
        start, end - start, float(points.offset[last]),
        estimated=last == first + 1 and upto - since > rules.long_step, provisional=provisional,
    )  # fmt: skip


def _kind(course: MeterCourse, meter: _Meter, places: tuple[int, int]) -> EventKind:
    first, last = places
    if (meter.opened and first == 0) or (meter.closed and last == len(course.readings) - 1):
        return EventKind.EXCHANGE
    if last in course.segments:
        return course.segments[last].kind
    left_out: Sequence[EventKind] = [course.kinds[place] for place in range(first, last) if place in course.kinds]
    if left_out:
        return left_out[0]
    values = course.value[[first, last]] != course.readings.value[[first, last]]
    return EventKind.JITTER if values.any() else EventKind.GAP


def _tail(course: MeterCourse, points: _Points, meter: _Meter, *, provisional: bool) -> Event:
    """From the last accepted reading to the last one: what was left out counts nothing yet."""
    first, last = int(points.place[-1]), len(course.readings) - 1
    return Event(
        EventKind.EXCHANGE if meter.closed else course.kinds[last],
        int(points.at[-1]), int(course.readings.at[-1]),
        float(course.readings.value[first]), float(course.readings.value[-1]),
        float(points.adjusted[-1]), 0.0, float(points.offset[-1]), estimated=False, provisional=provisional,
    )  # fmt: skip
