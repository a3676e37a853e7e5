"""Keeps registers, events and activity true: takes notes away and classifies what they touched, in one transaction."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import asyncpg

from metering_common.postgres.pool import TimedPool
from metering_writer.adapters.register_rows import Kept, delete_and_insert, read_events, read_windows
from metering_writer.adapters.session import Session
from metering_writer.domain.registers import Exchange, RegisterRules
from metering_writer.domain.registers.revision import LOOK, revise
from metering_writer.domain.touched import Note, Span, TouchedDevice, by_device
from metering_writer.queries import register_sql as sql

WIDER = 10
"""So many times more readings are looked at where a window was too small."""
MOST_LOOK = 1_000
"""Readings beyond which the whole register is read instead."""


class CaughtUp(NamedTuple):
    """What one transaction did."""

    notes: int
    registers: int
    """Registers looked at."""
    revised: int
    """Those whose events changed."""


class Asked(NamedTuple):
    """A register to look at."""

    device: int
    sensor: int
    rules: RegisterRules
    span: Span


class PostgresRegisters:
    """Several replicas may do so at once: each takes other notes, and a device's row lets in one of them."""

    def __init__(self, pool: TimedPool, most_notes: int) -> None:
        self._pool, self._most_notes = pool, most_notes

    async def catch_up(self) -> CaughtUp:
        """Takes some notes and does what they ask for; nothing where there is none."""
        async with self._pool.acquire() as session, session.transaction():
            notes = [_note(row) for row in await session.fetch(sql.take_notes, self._most_notes)]
            if not notes:
                return CaughtUp(0, 0, 0)
            touched = by_device(notes)
            known = await _keep_activity(session, touched)
            registers = await _definitions(session, _registers_of(touched, known))
            revised = await _revise(session, registers)
            spans = {device: one.span for device, one in touched.items() if one.span is not None}
            await session.execute(
                sql.count_presence,
                list(spans),
                [None if span.whole else span.since for span in spans.values()],
                [None if span.whole else span.upto for span in spans.values()],
            )
        return CaughtUp(len(notes), len(registers), revised)

    async def keep_completeness(self, devices: int) -> bool:
        """Of so many devices at most whose hour is over; whether there may be more."""
        async with self._pool.acquire() as session:
            done = await session.fetch(sql.keep_completeness, devices)
        return len(done) == devices

    async def oldest_note_seconds(self) -> float:
        async with self._pool.acquire() as session:
            return float(await session.fetchval(sql.oldest_note_seconds))


def _note(row: asyncpg.Record) -> Note:
    return Note(*(row[name] for name in ("device_id", "sensors", "since", "upto", "whole", "received_at")))


async def _keep_activity(session: Session, touched: Mapping[int, TouchedDevice]) -> dict[int, Sequence[int]]:
    """All sensors that each device has ever sent."""
    spans = [None if one.span is None or one.span.whole else one.span for one in touched.values()]
    rows = await session.fetch(
        sql.keep_activity,
        list(touched),
        [span and span.since for span in spans],
        [span and span.upto for span in spans],
        [one.received_at for one in touched.values()],
        [f"{{{','.join(map(str, sorted(one.sensors)))}}}" for one in touched.values()],
    )
    return {row["device_id"]: row["sensors"] for row in rows}


def _registers_of(
    touched: Mapping[int, TouchedDevice], known: Mapping[int, Sequence[int]]
) -> dict[tuple[int, int], Span]:
    """Every sensor with what was touched of it; in the order of ids, so that locks are taken in one order."""
    asked: dict[tuple[int, int], Span] = {}
    for device, one in touched.items():
        spans = dict(one.sensors)
        if one.all_sensors and one.span is not None:
            spans |= dict.fromkeys(known[device], one.span)
        asked |= {(device, sensor): span for sensor, span in sorted(spans.items())}
    return asked


async def _definitions(session: Session, asked: Mapping[tuple[int, int], Span]) -> list[Asked]:
    """Those of them that are registers. Of the others nothing is kept."""
    columns = [device for device, _ in asked], [sensor for _, sensor in asked]
    rows = await session.fetch(sql.definitions, *columns)
    found = {(row["device_id"], row["sensor_id"]): row for row in rows}
    others = [key for key, span in asked.items() if key not in found and span.whole]
    if others:
        await session.execute(sql.forget_registers, [key[0] for key in others], [key[1] for key in others])
    return [
        Asked(*key, _rules(row), asked[key].plus(Span(asked[key].since, asked[key].upto, whole=not row["known"])))
        for key, row in sorted(found.items())
    ]


def _rules(row: asyncpg.Record) -> RegisterRules:
    exchanges = zip(row["exchanged_at"], row["closings"], row["openings"], strict=True)
    names = ("net", "capacity", "resolution", "maximum_rate", "interval_seconds")
    known = {name: row[name] for name in names}
    return RegisterRules(**known, exchanges=tuple(Exchange(*one) for one in exchanges))


async def _revise(session: Session, registers: Sequence[Asked]) -> int:
    """Looks at a few readings around what was touched, at more where these are not enough; returns how many changed."""
    changed, look = 0, LOOK
    while registers:
        whole = [one.span.whole or look > MOST_LOOK for one in registers]
        windows = await read_windows(session, registers, whole, look)
        events = await read_events(session, registers, windows)
        revisions = [
            revise(one.rules, window, stored) for one, window, stored in zip(registers, windows, events, strict=True)
        ]
        done = [
            Kept(one.device, one.sensor, window, stored, revision)
            for one, window, stored, revision in zip(registers, windows, events, revisions, strict=True)
            if revision is not None
        ]
        changed += await delete_and_insert(session, done)
        registers = [one for one, revision in zip(registers, revisions, strict=True) if revision is None]
        look *= WIDER
    return changed
