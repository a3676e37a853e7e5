"""Of two values for one key the one received later stands: decided here for keys that are perhaps there already."""

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.accounts import WriteResult, counted
from metering_writer.domain.binary_copy import Column, Integers, parse_rows, row_type
from metering_writer.domain.columns import MEASUREMENT, Mask, Values
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
    own = _Versions(values.rev, values.quality.astype(np.int64), values.value)
    equal = base.exists & (base.version.value == values.value) & (base.version.quality == values.quality)
    later = base.exists & ~equal & own.is_after(base.version)
    write_results = {
        "written": values.entry[~base.exists],
        "corrected": values.entry[later],
        "present": values.entry[equal],
        "superseded": values.entry[base.exists & ~equal & ~later],
    }
    last = _last_of_each(key)
    stands = there[last] != _NONE
    wins = stands & own.at(last).is_after(_versions_of(existing, there[last]))
    return Decided(values.only(last[~stands]), values.only(last[wins]), counted(entries, write_results))


class _Versions(NamedTuple):
    """What decides between values of one key, one entry each in every column."""

    rev: Integers
    quality: Integers
    value: NDArray[np.float64]

    def at(self, places: Integers) -> "_Versions":
        return _Versions(self.rev[places], self.quality[places], self.value[places])

    def is_after(self, other: "_Versions") -> Mask:
        """As `upsert_staged` compares: (rev, -quality, value)."""
        better = (self.quality < other.quality) | ((self.quality == other.quality) & (self.value > other.value))
        after: Mask = (self.rev > other.rev) | ((self.rev == other.rev) & better)
        return after

    def where(self, chosen: Mask, other: "_Versions") -> "_Versions":
        """The other's where chosen."""
        return _Versions(*[np.where(chosen, its, mine) for mine, its in zip(self, other, strict=True)])


class _Base(NamedTuple):
    """What each value is compared with."""

    exists: Mask
    version: _Versions


def _base(key: Integers, values: Values, existing: ExistingRows, there: Integers) -> _Base:
    """What stands in the database, unless the batch itself brings something between that and the value."""
    before = np.arange(len(key)) - 1
    before[(before != _NONE) & (key[before] != key)] = _NONE
    in_batch = _Versions(
        _taken(values.rev, before), _taken(values.quality, before).astype(np.int64), _taken(values.value, before)
    )
    in_database = _versions_of(existing, there)
    from_batch = (before != _NONE) & ((there == _NONE) | in_batch.is_after(in_database))
    return _Base(from_batch | (there != _NONE), in_database.where(from_batch, in_batch))


def _versions_of(existing: ExistingRows, places: Integers) -> _Versions:
    return _Versions(_taken(existing.rev, places), _taken(existing.quality, places), _taken(existing.value, places))


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
