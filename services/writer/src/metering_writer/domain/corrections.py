"""Values that gave way to others, as COPY bytes: one correction for each that the ledger counts as such."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.columns import POSTGRES_EPOCH_S, Integers, Mask
from metering_writer.domain.records import Record

# One row of `measurement_correction` in binary COPY: every field behind its length. `corrected_at` is the column's
# default, the clock of the database.
CORRECTION_COLUMNS = (
    "device_id", "sensor_id", "ts", "old_value", "old_quality", "old_rev",
    "new_value", "new_quality", "new_rev", "batch_id", "item", "stood",
)  # fmt: skip
_TYPES = (">i4", ">i2", ">i8", ">f8", ">i2", ">i8", ">f8", ">i2", ">i8", "V16", ">i2", "?")
_ROW = np.dtype(
    [
        ("fields", ">i2"),
        *(
            field
            for name, kind in zip(CORRECTION_COLUMNS, _TYPES, strict=True)
            for field in ((f"{name}_length", ">i4"), (name, kind))
        ),
    ]
)


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

    def only(self, places: Integers) -> "Version":
        return Version(self.value[places], self.quality[places], self.rev[places])


@dataclass(frozen=True, slots=True)
class Corrections:
    """Values that gave way, and the values that they gave way to: one entry each in every column."""

    device: Integers
    ts: Integers
    """Unix seconds."""
    sensor: Integers
    record: Integers
    """Index of the batch's record that counts it as corrected or superseded."""
    old: Version
    new: Version
    stood: Mask
    """The old value was in the database; else it came together with the new one, or after it, and never stood."""


def copy_corrections(corrections: Corrections, records: Sequence[Record]) -> bytes:
    """Rows of binary COPY in the order of `CORRECTION_COLUMNS`, without its header and trailer."""
    rows = np.empty(len(corrections.ts), _ROW)
    rows["fields"] = len(CORRECTION_COLUMNS)
    for name, column in _columns(corrections, records).items():
        rows[name] = column
        rows[f"{name}_length"] = _ROW[name].itemsize
    return rows.tobytes()


def _columns(corrections: Corrections, records: Sequence[Record]) -> dict[str, NDArray[np.generic]]:
    batches = np.frombuffer(b"".join(record.headers.batch_id.bytes for record in records), "V16")
    items = np.array([record.headers.item for record in records], np.int64)
    versions = {
        f"{age}_{name}": column
        for age, version in (("old", corrections.old), ("new", corrections.new))
        for name, column in version._asdict().items()
    }
    return versions | {
        "device_id": corrections.device,
        "sensor_id": corrections.sensor,
        "ts": (corrections.ts - POSTGRES_EPOCH_S) * 1_000_000,
        "batch_id": batches[corrections.record],
        "item": items[corrections.record],
        "stood": corrections.stood,
    }
