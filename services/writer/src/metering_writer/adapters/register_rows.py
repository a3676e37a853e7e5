"""Readings and events of registers as the database has them, many registers in one statement."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import numpy as np

from metering_writer.adapters.session import Session
from metering_writer.domain.binary_copy import Integers
from metering_writer.domain.registers import Event, EventKind, Readings
from metering_writer.domain.registers.revision import Revision, StoredEvents, Window
from metering_writer.domain.touched import Span
from metering_writer.queries import register_sql as sql

# One row of `read_windows` in PostgreSQL's binary COPY: place, time, value, each behind its length.
READING_ROW = np.dtype(
    [("n", ">i2"), ("l1", ">i4"), ("place", ">i8"), ("l2", ">i4"), ("at", ">i8"), ("l3", ">i4"), ("value", ">f8")]
)
_HEADER_BYTES = 19
_TRAILER_BYTES = 2
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_COLUMNS = (
    "device_id", "sensor_id", "kind", "since", "upto", "before", "after", "start", "step", "offset", "estimated",
    "provisional",
)  # fmt: skip


class Register(Protocol):
    """A register to look at."""

    @property
    def device(self) -> int: ...
    @property
    def sensor(self) -> int: ...
    @property
    def span(self) -> Span: ...


class Kept(NamedTuple):
    """A register with what is to be done to its events."""

    device: int
    sensor: int
    window: Window
    stored: StoredEvents
    revision: Revision

    @property
    def changes(self) -> bool:
        """Whether the revision says anything else than what is stored."""
        since, before, events, shift = self.revision
        stored = [
            event
            for event in self.stored.events
            if (since is None or event.since >= since) and (before is None or event.since < before)
        ]
        return shift != 0 or stored != list(events)


async def read_windows(
    session: Session, registers: Sequence[Register], whole: Sequence[bool], look: int
) -> list[Window]:
    """So many readings before and after what was touched, or all of them."""
    rows = _columns(await _copied(session, registers, whole, look), len(registers))
    return [
        _window(Readings(at, value), one.span, look, whole=all_)
        for one, all_, (at, value) in zip(registers, whole, rows, strict=True)
    ]


def _window(readings: Readings, span: Span, look: int, *, whole: bool) -> Window:
    if whole:
        return Window(readings, True, True, span.since, span.upto)  # noqa: FBT003  begins and ends
    before = int(np.searchsorted(readings.at, span.since))
    after = len(readings) - int(np.searchsorted(readings.at, span.upto, side="right"))
    return Window(readings, before < look, after < look, span.since, span.upto)


async def _copied(session: Session, registers: Sequence[Register], whole: Sequence[bool], look: int) -> np.ndarray:
    """Rows of all registers, with the place of each register among them."""
    found = []
    for chosen in (True, False):
        places = np.array([place for place, all_ in enumerate(whole) if all_ is chosen], np.int64)
        if not len(places):
            continue
        asked = [registers[place] for place in places]
        keys = [one.device for one in asked], [one.sensor for one in asked]
        spans = [one.span.since for one in asked], [one.span.upto for one in asked], look
        query, arguments = (sql.read_registers, keys) if chosen else (sql.read_windows, (*keys, *spans))
        rows = await _copy(session, query, *arguments)
        rows["place"] = places[rows["place"] - 1]
        found.append(rows)
    return np.concatenate(found)


async def _copy(session: Session, query: str, *arguments: object) -> np.ndarray:
    read = bytearray()

    async def take(piece: bytes) -> None:
        read.extend(piece)

    await session.copy_from_query(query, *arguments, output=take, format="binary")
    count = (len(read) - _HEADER_BYTES - _TRAILER_BYTES) // READING_ROW.itemsize
    return np.frombuffer(read, READING_ROW, count, _HEADER_BYTES).copy()


def _columns(rows: np.ndarray, registers: int) -> Iterable[tuple[Integers, np.ndarray]]:
    """Times and values of each register, in order of time."""
    rows = rows[np.lexsort((rows["at"], rows["place"]))]
    edges = np.searchsorted(rows["place"], np.arange(registers + 1))
    at, value = rows["at"].astype(np.int64), rows["value"].astype(np.float64)
    return [(at[edges[one] : edges[one + 1]], value[edges[one] : edges[one + 1]]) for one in range(registers)]


async def read_events(session: Session, registers: Sequence[Register], windows: Sequence[Window]) -> list[StoredEvents]:
    """From each window's first reading on, and the offset in force before it."""
    first = [0 if window.begins or not len(window.readings) else int(window.readings.at[0]) for window in windows]
    keys = [one.device for one in registers], [one.sensor for one in registers]
    stored: list[list[Event]] = [[] for _ in registers]
    for row in await session.fetch(sql.read_events, *keys, first):
        stored[row["place"] - 1].append(Event(EventKind(row["kind"]), *list(row.values())[2:]))
    return [_from(events, since) for events, since in zip(stored, first, strict=True)]


def _from(events: Sequence[Event], since: int) -> StoredEvents:
    before = [event for event in events if event.upto < since]
    return StoredEvents(before[-1].offset if before else 0.0, events[len(before) :])


async def delete_and_insert(session: Session, kept: Sequence[Kept]) -> int:
    """Writes what is not stored as it should be; returns for how many registers something was."""
    changed = [one for one in kept if one.changes]
    if changed:
        keys = [one.device for one in changed], [one.sensor for one in changed]
        revisions = [one.revision for one in changed]
        await session.execute(
            sql.delete_events, *keys, [one.since for one in revisions], [one.before for one in revisions]
        )
        moved = [one for one in changed if one.revision.shift]
        await session.execute(
            sql.shift_events,
            [one.device for one in moved],
            [one.sensor for one in moved],
            [one.revision.before for one in moved],
            [one.revision.shift for one in moved],
        )
        rows = [_row(one, event) for one in changed for event in one.revision.events]
        if rows:
            await session.copy_records_to_table("register_event", records=rows, columns=_COLUMNS)
    await _keep_extents(session, kept)
    return len(changed)


async def _keep_extents(session: Session, kept: Sequence[Kept]) -> None:
    """First and last known times, as far as the windows show them; a register without readings is forgotten."""
    gone = [one for one in kept if one.window.begins and one.window.ends and not len(one.window.readings)]
    there = [one for one in kept if len(one.window.readings)]
    await session.execute(sql.forget_registers, [one.device for one in gone], [one.sensor for one in gone])
    await session.execute(
        sql.keep_registers,
        [one.device for one in there],
        [one.sensor for one in there],
        [_first(one) for one in there],
        [_last(one) for one in there],
    )


def _first(kept: Kept) -> int | None:
    events = [event.since for event in kept.revision.events[:1]]
    return min([int(kept.window.readings.at[0]), *events]) if kept.window.begins else None


def _last(kept: Kept) -> int | None:
    events = [event.upto for event in kept.revision.events[-1:]]
    return max([int(kept.window.readings.at[-1]), *events]) if kept.window.ends else None


def _row(kept: Kept, event: Event) -> tuple[object, ...]:
    times = _instant(event.since), _instant(event.upto)
    return (kept.device, kept.sensor, event.kind.value, *times, *event[3:8], event.estimated, event.provisional)


def _instant(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)
