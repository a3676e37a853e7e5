"""Of two values for one key the one received later stands: decided here for keys that are perhaps there already."""

from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.accounts import WriteResult, counted
from metering_writer.domain.columns import Integers, Mask, Values
from metering_writer.domain.corrections import Corrections, Version
from metering_writer.domain.keys import Keys, grouped

# One row of `existing_values` in PostgreSQL's binary COPY: place, sensor, value, quality, rev, each behind its length.
STANDING_ROW = np.dtype(
    [
        ("n", ">i2"),
        ("l1", ">i4"),
        ("place", ">i8"),
        ("l2", ">i4"),
        ("sensor", ">i2"),
        ("l3", ">i4"),
        ("value", ">f8"),
        ("l4", ">i4"),
        ("quality", ">i2"),
        ("l5", ">i4"),
        ("rev", ">i8"),
    ]
)
_HEADER_BYTES = 19
_TRAILER_BYTES = 2
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
    """Per record of the batch."""
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
    count = (len(data) - _HEADER_BYTES - _TRAILER_BYTES) // STANDING_ROW.itemsize
    rows = np.frombuffer(data, STANDING_ROW, count, _HEADER_BYTES)
    key = (rows["place"].astype(np.int64) - 1) << 16 | rows["sensor"].astype(np.int64)
    order = np.argsort(key, kind="stable")
    columns = [rows[name][order] for name in ("value", "quality", "rev")]
    return ExistingRows(
        key[order], columns[0].astype(np.float64), columns[1].astype(np.int64), columns[2].astype(np.int64)
    )


def decide(candidates: Candidates, existing: ExistingRows, records: int) -> Decided:
    """Each value is compared with what stands under its key once all that were received before it are stored.

    Of equal revs the one that stands stays, or else the first in the batch.
    """
    key, values = candidates.places << 16 | candidates.values.sensor, candidates.values
    if not (key[1:] > key[:-1]).all():  # a single sorted block without repetitions, as most are, need not be copied
        order = np.lexsort((values.record, values.rev, key))
        key, values = key[order], values.only(order)
    there = _find(existing.key, key)
    base = _base(key, values, existing, there)
    equal = base.exists & (base.value == values.value) & (base.quality == values.quality)
    corrected = base.exists & ~equal & (base.rev < values.rev)
    superseded = base.exists & ~equal & (base.rev >= values.rev)
    write_results = {
        "written": values.record[~base.exists],
        "corrected": values.record[corrected],
        "present": values.record[equal],
        "superseded": values.record[superseded],
    }
    last = _leaders(key, values.rev)[_last_of_each(key)]
    stands = there[last] != _NONE
    wins = stands & (values.rev[last] > _taken(existing.rev, there[last]))
    return Decided(
        values.only(last[~stands]),
        values.only(last[wins]),
        counted(records, write_results),
        _corrections(values, base, corrected, superseded, _first_of_each(key, corrected & (there != _NONE))),
    )


class _Base(NamedTuple):
    """What each value is compared with."""

    exists: Mask
    value: NDArray[np.float64]
    quality: Integers
    rev: Integers


def _corrections(values: Values, base: _Base, corrected: Mask, superseded: Mask, stood: Mask) -> Corrections:
    """What gave way: to a corrected value its base, and a superseded value itself to its base.

    What stood in the database until now gives way to the first value of its key that differs from it.
    """
    own = Version(values.value, values.quality.astype(np.int64), values.rev)
    other = Version(base.value, base.quality, base.rev)
    chosen = np.flatnonzero(corrected | superseded)
    return Corrections(
        values.device[chosen],
        values.ts[chosen],
        values.sensor[chosen],
        values.record[chosen],
        old=other.where(corrected, own).only(chosen),
        new=own.where(corrected, other).only(chosen),
        stood=stood[chosen],
    )


def _base(key: Integers, values: Values, existing: ExistingRows, there: Integers) -> _Base:
    """What stands in the database, unless the batch itself brings something received between that and the value."""
    leaders = _leaders(key, values.rev)
    index = np.arange(len(key))
    before = np.where(leaders == index, np.r_[_NONE, leaders[:-1]], leaders)
    before[(before != _NONE) & (key[before] != key)] = _NONE
    from_batch = (before != _NONE) & ((there == _NONE) | (_taken(values.rev, before) > _taken(existing.rev, there)))
    return _Base(
        from_batch | (there != _NONE),
        np.where(from_batch, _taken(values.value, before), _taken(existing.value, there)),
        np.where(from_batch, _taken(values.quality, before), _taken(existing.quality, there)),
        np.where(from_batch, _taken(values.rev, before), _taken(existing.rev, there)),
    )


def _leaders(key: Integers, rev: Integers) -> Integers:
    """For each entry of sorted keys and revs, the first one with the same key and rev."""
    starts = np.ones(len(key), np.bool_)
    starts[1:] = (key[1:] != key[:-1]) | (rev[1:] != rev[:-1])
    return np.maximum.accumulate(np.where(starts, np.arange(len(key)), 0))


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
