"""Values that gave way to others, as COPY bytes: one correction for each that the ledger counts as such."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.binary_copy import Column, Integers, new_rows, row_type, timestamps
from metering_writer.domain.columns import Mask
from metering_writer.domain.entries import ValidatedEntry

_COLUMNS = (
    Column("device_id", ">i4"),
    Column("sensor_id", ">i2"),
    Column("ts", ">i8"),
    Column("old_value", ">f8"),
    Column("old_quality", ">i2"),
    Column("old_rev", ">i8"),
    Column("new_value", ">f8"),
    Column("new_quality", ">i2"),
    Column("new_rev", ">i8"),
    Column("batch_id", "V16"),
    Column("item", ">i2"),
    Column("stood", "?"),
)
"""`corrected_at` is the column's default, the clock of the database."""
CORRECTION_COLUMNS = tuple(column.name for column in _COLUMNS)
_ROW = row_type(_COLUMNS)


class Version(NamedTuple):
    """One value per entry, with what goes with it."""

    value: NDArray[np.float64]
    quality: Integers
    rev: Integers

    def where(self, chosen: Mask, other: Self) -> "Version":
        """Its entries where chosen, the other's elsewhere."""
        return Version(
            np.where(chosen, self.value, other.value),
            np.where(chosen, self.quality, other.quality),
            np.where(chosen, self.rev, other.rev),
        )

    def is_after(self, other: Self) -> Mask:
        """As `upsert_staged` compares: (rev, the better quality, value)."""
        better = (self.quality < other.quality) | ((self.quality == other.quality) & (self.value > other.value))
        after: Mask = (self.rev > other.rev) | ((self.rev == other.rev) & better)
        return after

    def only(self, places: Integers) -> "Version":
        return Version(self.value[places], self.quality[places], self.rev[places])


@dataclass(frozen=True, slots=True)
class Corrections:
    """Values that gave way, and the values that they gave way to: one entry each in every column."""

    device: Integers
    ts: Integers
    """Unix seconds."""
    sensor: Integers
    entry: Integers
    """Index of the batch's entry that counts it as corrected or superseded."""
    old: Version
    new: Version
    stood: Mask
    """The old value was in the database; else it came together with the new one, or after it, and never stood."""


def copy_corrections(corrections: Corrections, entries: Sequence[ValidatedEntry]) -> bytes:
    """Rows of binary COPY in the order of `CORRECTION_COLUMNS`, without its header and trailer."""
    rows = new_rows(len(corrections.ts), _ROW)
    for name, column in _columns(corrections, entries).items():
        rows[name] = column
    return rows.tobytes()


def _columns(corrections: Corrections, entries: Sequence[ValidatedEntry]) -> dict[str, NDArray[np.generic]]:
    batches = np.frombuffer(b"".join(entry.metadata.batch_id.bytes for entry in entries), "V16")
    items = np.array([entry.metadata.item for entry in entries], np.int64)
    versions = {
        f"{age}_{name}": column
        for age, version in (("old", corrections.old), ("new", corrections.new))
        for name, column in version._asdict().items()
    }
    return versions | {
        "device_id": corrections.device,
        "sensor_id": corrections.sensor,
        "ts": timestamps(corrections.ts),
        "batch_id": batches[corrections.entry],
        "item": items[corrections.entry],
        "stood": corrections.stood,
    }
