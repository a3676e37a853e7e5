"""An entry of the dictionary as it is given: read, checked, and looked up by name or alias."""

import json
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import msgspec

from metering_auth.domain.texts import InvalidEntryError, checked_interval, normalised
from metering_common.registry.documents import FaultRanges, Sensor, SensorKind

_REGISTER_TERMS = {"capacity": "a capacity", "resolution": "a resolution", "maximum_rate": "a maximum rate"}
ACCUMULATING_MARK = "acumulada"  # in a name it says that the register only counts up


REGISTERS = {SensorKind.ACCUMULATING, SensorKind.NET}


class SensorEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry as it is given: in a dictionary file, or by `sensor add`. Without a kind the name decides."""

    name: str
    unit: str
    alias: str | None = None
    kind: SensorKind | None = None
    minimum: float | None = None
    maximum: float | None = None
    faults: FaultRanges = ()
    capacity: float | None = None
    resolution: float | None = None
    interval_seconds: int | None = None
    maximum_rate: float | None = None


def read_dictionary(text: bytes) -> list[SensorEntry]:
    """A JSON list of entries; raises `InvalidEntryError`."""
    try:
        return msgspec.json.decode(text, type=list[SensorEntry])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidEntryError(f"the dictionary cannot be read: {error}") from error


def check_entry(entry: SensorEntry) -> SensorEntry:
    """The entry as it is kept; raises `InvalidEntryError`."""
    name = normalised(entry.name, "the sensor's name")
    _check_faults(name, entry.faults)
    for number in (entry.minimum, entry.maximum, *chain.from_iterable(entry.faults)):
        if number is not None and not math.isfinite(number):
            raise InvalidEntryError(f"sensor {name!r}: {number} is no number that a value could be compared with")
    if entry.minimum is not None and entry.maximum is not None and entry.minimum > entry.maximum:
        raise InvalidEntryError(f"sensor {name!r}: the minimum is above the maximum")
    kind = entry.kind or _kind_of(name)
    check_register(name, kind, entry)
    if entry.interval_seconds is not None:
        checked_interval(entry.interval_seconds)
    return msgspec.structs.replace(
        entry,
        name=name,
        unit=normalised(entry.unit, f"the unit of {name!r}"),
        alias=None if entry.alias is None else normalised(entry.alias, f"the alias of {name!r}"),
        kind=kind,
    )


def check_register(name: str, kind: SensorKind, entry: SensorEntry) -> None:
    """What only a register has, and only an accumulating one; raises `InvalidEntryError`."""
    for term, what in _REGISTER_TERMS.items():
        number = getattr(entry, term)
        if number is None:
            continue
        if not (math.isfinite(number) and number > 0):
            raise InvalidEntryError(f"sensor {name!r}: {what} of {number} is not above 0")
        if kind not in REGISTERS:
            raise InvalidEntryError(f"sensor {name!r}: only a register has {what}, and this is {kind.value}")
    if entry.capacity is not None and kind is SensorKind.NET:
        raise InvalidEntryError(f"sensor {name!r}: a net register knows no roll-over, so it has no capacity")
    if entry.capacity is not None and entry.resolution is not None and entry.resolution >= entry.capacity:
        raise InvalidEntryError(f"sensor {name!r}: the resolution is not below the capacity")


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
    except (ValueError, RecursionError) as error:
        raise InvalidEntryError(f"the list of sensors is not JSON: {error}") from error
    if not isinstance(named, list):
        raise InvalidEntryError("the list of sensors is not a JSON list")
    return named


def refuse_taken(others: Sequence[Sensor], entry: SensorEntry) -> None:
    """A name is never another's alias either: both are looked up alike."""
    taken = {text for other in others for text in (other.name, other.alias) if text is not None}
    for text in (entry.name, entry.alias):
        if text in taken:
            raise InvalidEntryError(f"{text!r} is another sensor's name or alias")


def stored_terms(entry: SensorEntry) -> tuple[Any, ...]:
    kind, faults = entry.kind or _kind_of(entry.name), msgspec.json.encode(entry.faults).decode()
    register = entry.capacity, entry.resolution, entry.interval_seconds, entry.maximum_rate
    return entry.alias, entry.unit, kind.value, entry.minimum, entry.maximum, faults, *register


def _kind_of(name: str) -> SensorKind:
    return SensorKind.ACCUMULATING if ACCUMULATING_MARK in name.lower() else SensorKind.INSTANTANEOUS


def _check_faults(name: str, faults: FaultRanges) -> None:
    for low, high in faults:
        if low is None and high is None:
            raise InvalidEntryError(f"sensor {name!r}: a fault range needs an end, or every value is a fault")
        if low is not None and high is not None and low > high:
            raise InvalidEntryError(f"sensor {name!r}: the fault range from {low} to {high} holds nothing")
