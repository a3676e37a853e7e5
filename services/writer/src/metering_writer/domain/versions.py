"""Of two values for one key the one received later stands: decided here for keys that are perhaps there already."""

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.accounts import WriteResult, counted
from metering_writer.domain.binary_copy import Column, Integers, parse_rows, row_type
from metering_writer.domain.columns import MEASUREMENT, Mask, Values
from metering_writer.domain.corrections import Corrections, Version
from metering_writer.domain.keys import Keys, grouped

_EXISTING_ROW = row_type(
    [Column("place", ">i8"), *[column for column in MEASUREMENT if column.name not in ("ts", "device_id")]]
)
_NONE = -1

T = TypeVar("T", bound=np.generic)


class ExistingRows(NamedTuple):
    """What the database has under the keys asked for, in the order of `key`."""

    key: Integers
    """Place of (device, time) << 16 | sensor."""
    value: NDArray[np.float64]
    quality: Integers
    rev: Integers

    @property
    def places(self) -> Integers:
        return self.key >> 16

    def renumbered(self, places: Integers) -> "ExistingRows":
        """For the old places' keys at new places, which must be in the same order."""
        return self._replace(key=places[self.places] << 16 | self.key & 0xFFFF)


class Decided(NamedTuple):
    """What is to be done with values of which some keys are there, or come more than once."""

    new: Values
    """No value stands under their keys."""
    better: Values
    """An earlier received one stands."""
    write_results: list[WriteResult]
    """Per entry of the batch."""
    corrections: Corrections
    """One for each value counted as corrected or superseded."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Values that are perhaps there already, their distinct (device, time), and each value's place among these."""

    values: Values
    keys: Keys
    places: Integers

    @classmethod
    def of(cls, values: Values) -> "Candidates":
        keys, places = grouped(values.device, values.ts)
        return cls(values, keys, places)


def parse_existing(data: bytes | bytearray) -> ExistingRows:
    """From binary COPY; places come counted from 1."""
    rows = parse_rows(data, _EXISTING_ROW)
    key = (rows["place"].astype(np.int64) - 1) << 16 | rows["sensor_id"].astype(np.int64)
    order = np.argsort(key, kind="stable")
    columns = [rows[name][order] for name in ("value", "quality", "rev")]
    return ExistingRows(
        key[order], columns[0].astype(np.float64), columns[1].astype(np.int64), columns[2].astype(np.int64)
    )


def decide(candidates: Candidates, existing: ExistingRows, entries: int) -> Decided:
    """Each value is compared with what stands under its key once all that come before it in the order are stored.

    The order is total (rev, then the better quality, then the greater value), so that the same rows remain whatever
    came first, also where revs are equal: 13 bits can collide, and a portal's answer has one rev for all its pages.
    """
    key, values = candidates.places << 16 | candidates.values.sensor, candidates.values
    if not (key[1:] > key[:-1]).all():  # a single sorted block without repetitions, as most are, need not be copied
        order = np.lexsort((values.entry, values.value, -values.quality, values.rev, key))
        key, values = key[order], values.only(order)
    there = _find(existing.key, key)
    base = _base(key, values, existing, there)
    own = Version(values.value, values.quality.astype(np.int64), values.rev)
    equal = base.exists & (base.version.value == values.value) & (base.version.quality == values.quality)
    corrected = base.exists & ~equal & own.is_after(base.version)
    superseded = base.exists & ~equal & ~corrected
    write_results = {
        "written": values.entry[~base.exists],
        "corrected": values.entry[corrected],
        "present": values.entry[equal],
        "superseded": values.entry[superseded],
    }
    last = _last_of_each(key)
    stands = there[last] != _NONE
    wins = stands & own.only(last).is_after(_versions_of(existing, there[last]))
    return Decided(
        values.only(last[~stands]),
        values.only(last[wins]),
        counted(entries, write_results),
        _corrections(values, base, corrected, superseded, _first_of_each(key, corrected & (there != _NONE))),
    )


class _Base(NamedTuple):
    """What each value is compared with."""

    exists: Mask
    version: Version


def _corrections(values: Values, base: _Base, corrected: Mask, superseded: Mask, stood: Mask) -> Corrections:
    """What gave way: to a corrected value its base, and a superseded value itself to its base.

    What stood in the database until now gives way to the first value of its key that differs from it.
    """
    own = Version(values.value, values.quality.astype(np.int64), values.rev)
    other = base.version
    chosen = np.flatnonzero(corrected | superseded)
    return Corrections(
        values.device[chosen],
        values.ts[chosen],
        values.sensor[chosen],
        values.entry[chosen],
        old=other.where(corrected, own).only(chosen),
        new=own.where(corrected, other).only(chosen),
        stood=stood[chosen],
    )


def _base(key: Integers, values: Values, existing: ExistingRows, there: Integers) -> _Base:
    """What stands in the database, unless the batch itself brings something between that and the value."""
    before = np.arange(len(key)) - 1
    before[(before != _NONE) & (key[before] != key)] = _NONE
    in_batch = Version(
        _taken(values.value, before), _taken(values.quality, before).astype(np.int64), _taken(values.rev, before)
    )
    in_database = _versions_of(existing, there)
    from_batch = (before != _NONE) & ((there == _NONE) | in_batch.is_after(in_database))
    return _Base(from_batch | (there != _NONE), in_batch.where(from_batch, in_database))


def _versions_of(existing: ExistingRows, places: Integers) -> Version:
    return Version(_taken(existing.value, places), _taken(existing.quality, places), _taken(existing.rev, places))


def _first_of_each(key: Integers, chosen: Mask) -> Mask:
    """The first chosen entry of each of the sorted keys."""
    places = np.flatnonzero(chosen)
    first = np.zeros(len(key), np.bool_)
    first[places[np.r_[True, key[places][1:] != key[places][:-1]]] if len(places) else places] = True
    return first


def _last_of_each(key: Integers) -> Integers:
    return np.flatnonzero(np.r_[key[1:] != key[:-1], True]) if len(key) else np.empty(0, np.int64)


def _find(sorted_keys: Integers, asked: Integers) -> Integers:
    """Where each asked key stands, or -1."""
    if not len(sorted_keys):
        return np.full(len(asked), _NONE)
    place = np.minimum(np.searchsorted(sorted_keys, asked), len(sorted_keys) - 1)
    return np.where(sorted_keys[place] == asked, place, _NONE)


def _taken(column: NDArray[T], places: Integers) -> NDArray[T]:
    """The column at the places; anything where the place is -1."""
    return column[places] if len(column) else np.zeros(len(places), column.dtype)
