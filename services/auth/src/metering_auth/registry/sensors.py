"""The dictionary of sensors: which variables the platform knows, in their order, and how their values are validated."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from metering_auth import audit
from metering_auth.audit import Actor
from metering_auth.registry.documents import QUERIES, Faults, as_plain, sensor_from
from metering_auth.registry.domain.texts import InvalidEntryError, normalised
from metering_auth.registry.outbox import Connection, PartitionBatcher, announce, change
from metering_auth.rows import one_row
from metering_common.registry.documents import Sensor, SensorKind, document_key

ACCUMULATING_MARK = "acumulada"  # in a name it says that the register only counts up


class SensorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entry as it is given: in a dictionary file, or by `sensor add`. Without a kind the name decides."""

    name: str
    unit: str
    alias: str | None = None
    kind: SensorKind | None = None
    minimum: float | None = None
    maximum: float | None = None
    faults: Faults = ()
    rollover: float | None = None


@dataclass(frozen=True)
class ImportedSensors:
    """How many entries an import added, changed and found as they were."""

    added: int
    changed: int
    unchanged: int


async def sensors(connection: Connection) -> list[Sensor]:
    """The dictionary in its order."""
    return [sensor_from(row) for row in await connection.fetch(QUERIES.sensors)]


async def add_sensor(connection: Connection, actor: Actor, entry: SensorEntry) -> Sensor:
    """At the end of the dictionary; raises `InvalidEntryError` when the name or the alias is taken."""
    checked = check_entry(entry)
    async with change(connection, PartitionBatcher.ORDINARY):
        _refuse_taken(await sensors(connection), checked)
        return await _add(connection, actor, checked)


async def import_sensors(connection: Connection, actor: Actor, entries: Sequence[SensorEntry]) -> ImportedSensors:
    """Adds what is new and changes what differs, by name; nothing is removed. Safe to repeat."""
    added = changed = 0
    async with change(connection, PartitionBatcher.ORDINARY):
        for entry in map(check_entry, entries):
            present = await sensors(connection)
            before = next((known for known in present if known.name == entry.name), None)
            _refuse_taken([known for known in present if known is not before], entry)
            if before is None:
                await _add(connection, actor, entry)
                added += 1
            else:
                changed += await _change(connection, actor, before, entry)
    return ImportedSensors(added, changed, len(entries) - added - changed)


def read_dictionary(text: bytes) -> list[SensorEntry]:
    """A JSON list of entries; raises `InvalidEntryError`."""
    try:
        return msgspec.json.decode(text, type=list[SensorEntry])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEntryError(f"the dictionary cannot be read: {error}") from error


def check_entry(entry: SensorEntry) -> SensorEntry:
    """The entry as it is kept; raises `InvalidEntryError`."""
    name = normalised(entry.name, "the sensor's name")
    _check_faults(name, entry.faults)
    for number in (entry.minimum, entry.maximum, entry.rollover, *chain.from_iterable(entry.faults)):
        if number is not None and not math.isfinite(number):
            raise InvalidEntryError(f"sensor {name!r}: {number} is no number that a value could be compared with")
    if entry.minimum is not None and entry.maximum is not None and entry.minimum > entry.maximum:
        raise InvalidEntryError(f"sensor {name!r}: the minimum is above the maximum")
    if entry.rollover is not None and entry.rollover <= 0:
        raise InvalidEntryError(f"sensor {name!r}: a register rolls over at a positive value")
    return msgspec.structs.replace(
        entry,
        name=name,
        unit=normalised(entry.unit, f"the unit of {name!r}"),
        alias=None if entry.alias is None else normalised(entry.alias, f"the alias of {name!r}"),
        kind=entry.kind or _kind_of(name),
    )


def resolve(named: Sequence[Any], dictionary: Sequence[Sensor]) -> tuple[int, ...]:
    """Ids in the dictionary's order for names or aliases (text, or objects with a `name`); `InvalidEntryError` else."""
    by_name = {known.name: known for known in dictionary}
    by_name |= {known.alias: known for known in dictionary if known.alias is not None}
    chosen: dict[int, int] = {}
    for each in named:
        name = each.get("name") if isinstance(each, dict) else each
        known = by_name.get(normalised(name, "a sensor's name")) if isinstance(name, str) else None
        if known is None:
            raise InvalidEntryError(f"sensor {name!r} is not in the dictionary")
        chosen[known.id] = known.position
    return tuple(sorted(chosen, key=chosen.__getitem__))


def read_sensor_list(text: bytes) -> list[Any]:
    """A JSON list of names, aliases or objects with a `name`; raises `InvalidEntryError`."""
    try:
        named = json.loads(text)
    except ValueError as error:
        raise InvalidEntryError(f"the list of sensors is not JSON: {error}") from error
    if not isinstance(named, list):
        raise InvalidEntryError("the list of sensors is not a JSON list")
    return named


def _kind_of(name: str) -> SensorKind:
    return SensorKind.ACCUMULATING if ACCUMULATING_MARK in name.lower() else SensorKind.INSTANTANEOUS


def _check_faults(name: str, faults: Faults) -> None:
    for low, high in faults:
        if low is None and high is None:
            raise InvalidEntryError(f"sensor {name!r}: a fault range needs an end, or every value is a fault")
        if low is not None and high is not None and low > high:
            raise InvalidEntryError(f"sensor {name!r}: the fault range from {low} to {high} holds nothing")


def _refuse_taken(others: Sequence[Sensor], entry: SensorEntry) -> None:
    """A name is never another's alias either: both are looked up alike."""
    taken = {text for other in others for text in (other.name, other.alias) if text is not None}
    for text in (entry.name, entry.alias):
        if text in taken:
            raise InvalidEntryError(f"{text!r} is another sensor's name or alias")


def _validation(entry: SensorEntry) -> tuple[Any, ...]:
    kind, faults = entry.kind or _kind_of(entry.name), msgspec.json.encode(entry.faults).decode()
    return (entry.alias, entry.unit, kind.value, entry.minimum, entry.maximum, faults, entry.rollover)


async def _add(connection: Connection, actor: Actor, entry: SensorEntry) -> Sensor:
    sensor = sensor_from(await one_row(connection, QUERIES.add_sensor, entry.name, *_validation(entry)))
    await announce(connection, sensor)
    await audit.record(connection, actor, "sensor.added", document_key(sensor), after=as_plain(sensor))
    return sensor


async def _change(connection: Connection, actor: Actor, before: Sensor, entry: SensorEntry) -> bool:
    after = sensor_from(await one_row(connection, QUERIES.set_sensor, entry.name, *_validation(entry)))
    if after == before:
        return False
    await announce(connection, after)
    await audit.record(
        connection, actor, "sensor.changed", document_key(after), before=as_plain(before), after=as_plain(after)
    )
    return True
