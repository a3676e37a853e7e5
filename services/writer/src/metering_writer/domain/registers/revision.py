"""After readings have changed, only a window around them is classified again, where both its ends are sure."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from metering_writer.domain.registers.classify import classify_register
from metering_writer.domain.registers.meter import HISTORY
from metering_writer.domain.registers.model import FOLLOWERS, Event, EventKind, Readings, RegisterRules

REACH = HISTORY - 1 + FOLLOWERS
"""Readings after one that may still change what is said of it: two at most are taken back, three decide."""
LOOK = HISTORY + REACH + 4
"""Readings to look at on either side of a change, most often enough."""
_SAME = 1e-9


class Window(NamedTuple):
    """The readings around a change, from the database."""

    readings: Readings
    begins: bool
    """No reading of the register is before them."""
    ends: bool
    """No reading of the register is after them."""
    since: int
    """The first changed time; what is before it stands as it was when the events were stored."""
    upto: int
    """The last one."""


class StoredEvents(NamedTuple):
    """What is stored of the register from the window's first reading on."""

    offset: float
    """In force before them."""
    events: Sequence[Event]
    """In order of time; the first may begin before the window."""


class Revision(NamedTuple):
    """What is to be done to the stored events."""

    since: int | None
    """Events that begin from here (None: the very first) …"""
    before: int | None
    """… to before this time (None: the last) are replaced by …"""
    events: Sequence[Event]
    shift: float
    """Added to the register in all later ones."""


def revise(rules: RegisterRules, window: Window, stored: StoredEvents) -> Revision | None:
    """Returns the revision, or None where the window is too small to be sure of its ends."""
    readings = window.readings
    start = 0 if window.begins else _start(window, stored)
    if start is None:
        return None
    offset = 0.0 if window.begins else _offset_at(stored, int(readings.at[start]) if len(readings) else 0)
    exchanges = tuple(one for one in rules.exchanges if _concerns(window, start, one.at))
    course = classify_register(replace(rules, exchanges=exchanges), readings.part(start, len(readings)), offset)
    since = None if window.begins else int(readings.at[start])
    if window.ends:
        return Revision(since, None, course.events, 0.0)
    end = _end(window, start, course.events, stored.events)
    if end is None:
        return None
    before = int(readings.at[end])
    shift = _offset_at(StoredEvents(offset, course.events), before) - _offset_at(stored, before)
    return Revision(since, before, [event for event in course.events if event.since < before], shift)


def _concerns(window: Window, start: int, exchange: int) -> bool:
    at = window.readings.at
    return (window.begins or exchange >= at[start]) and (window.ends or exchange < at[-1])


def _offset_at(stored: StoredEvents, at: int) -> float:
    """What is added to a reading that no event lies across."""
    return next((event.offset for event in reversed(stored.events) if event.upto <= at), stored.offset)


def _start(window: Window, stored: StoredEvents) -> int | None:
    """The last reading from which classification can begin: what is before the change cannot be said otherwise."""
    at = window.readings.at
    changed = int(np.searchsorted(at, window.since))
    for start in range(changed - HISTORY - REACH, -1, -1):
        then = at[start + HISTORY - 1]
        near = [event for event in stored.events if event.since <= then and event.upto >= at[start]]
        if all(_can_begin(event, int(at[start])) for event in near):
            return start
    return None


def _can_begin(event: Event, at: int) -> bool:
    """Whether a register can be taken up at a reading near this event."""
    if event.upto == at:
        return not event.provisional and event.after is not None and _is_as_read(event)
    if event.since < at:
        return False
    return not event.provisional and event.kind in {EventKind.GAP, EventKind.JITTER}


def _is_as_read(event: Event) -> bool:
    """The reading at its end counts as it was read."""
    end = event.start + event.step
    return event.after is not None and abs(event.after + event.offset - end) <= _SAME * max(1.0, abs(end))


def _end(window: Window, start: int, new: Sequence[Event], old: Sequence[Event]) -> int | None:
    """The first reading after the change at which what is stored and what is new go on in the same way."""
    at = window.readings.at
    first = max(int(np.searchsorted(at, window.upto, side="right")), start) + HISTORY - 1
    for end in range(first, len(at) - REACH):
        near = [
            event for event in (*new, *old) if event.since <= at[end] and event.upto >= at[end - HISTORY + 1]
        ]  # fmt: skip
        if all(event.kind is EventKind.GAP and not event.provisional for event in near):
            return end
    return None
