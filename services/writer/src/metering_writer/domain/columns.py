"""Fourth stop of a measure in the writer: accepted rows become sorted blocks of columns and PostgreSQL's COPY bytes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.records import Record

POSTGRES_EPOCH_S = 946_684_800  # 2000-01-01 UTC
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"

COPY_COLUMNS = ("ts", "value", "rev", "device_id", "sensor_id", "quality")

# One row of PostgreSQL's binary COPY: the number of fields, then each field behind its length. Big-endian.
COPY_ROW = np.dtype(
    [
        ("n", ">i2"),
        ("l1", ">i4"),
        ("ts", ">i8"),
        ("l2", ">i4"),
        ("value", ">f8"),
        ("l3", ">i4"),
        ("rev", ">i8"),
        ("l4", ">i4"),
        ("device", ">i4"),
        ("l5", ">i4"),
        ("sensor", ">i2"),
        ("l6", ">i4"),
        ("quality", ">i2"),
    ]
)
_LENGTHS = {"n": len(COPY_COLUMNS), "l1": 8, "l2": 8, "l3": 8, "l4": 4, "l5": 2, "l6": 2}

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Block:
    """Measures that name the same sensors, sorted by (device, time, rev). One entry per measure."""

    sensors: tuple[int, ...]
    device: Integers
    ts: Integers
    """Unix seconds."""
    rev: Integers
    record: Integers
    """Index into the batch's records."""
    values: NDArray[np.float64]
    """One row per measure, one column per sensor."""
    quality: NDArray[np.int16]
    """As `values`."""

    def only(self, chosen: Mask) -> "Block":
        """The chosen measures, in the same order."""
        return Block(
            self.sensors,
            self.device[chosen],
            self.ts[chosen],
            self.rev[chosen],
            self.record[chosen],
            self.values[chosen],
            self.quality[chosen],
        )


@dataclass(slots=True)
class _Lists:
    """What is gathered of one sensor list before it becomes arrays."""

    device: list[int] = field(default_factory=list)
    ts: list[int] = field(default_factory=list)
    rev: list[int] = field(default_factory=list)
    record: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    """Empty as long as every value so far is good."""


def blocks_of(records: Sequence[Record]) -> list[Block]:
    """All rows of the records, which must have passed `records.check`, as one block per list of sensors."""
    gathered: dict[tuple[int, ...], _Lists] = {}
    for index, record in enumerate(records):
        for rows in record.validated.rows:
            if rows.values:
                lists = gathered.setdefault(rows.sensors, _Lists())
                measures = len(rows.timestamps)
                if rows.quality and not lists.quality:
                    lists.quality.extend([0] * len(lists.values))
                if lists.quality or rows.quality:
                    lists.quality.extend(rows.quality or [0] * len(rows.values))
                lists.device.extend([record.headers.device_id] * measures)
                lists.ts.extend(rows.timestamps)
                lists.rev.extend([record.headers.rev] * measures)
                lists.record.extend([index] * measures)
                lists.values.extend(rows.values)
    return [_sorted_block(sensors, lists) for sensors, lists in gathered.items()]


def _sorted_block(sensors: tuple[int, ...], lists: _Lists) -> Block:
    shape = (len(lists.ts), len(sensors))
    device, ts, rev, record = (
        np.array(column, np.int64) for column in (lists.device, lists.ts, lists.rev, lists.record)
    )
    values = np.array(lists.values, np.float64).reshape(shape)
    quality = np.array(lists.quality, np.int16).reshape(shape) if lists.quality else np.zeros(shape, np.int16)
    order = np.lexsort((rev, ts, device))
    return Block(sensors, device[order], ts[order], rev[order], record[order], values[order], quality[order])


@dataclass(frozen=True, slots=True)
class Values:
    """Single values, one entry each in every column."""

    device: Integers
    ts: Integers
    """Unix seconds."""
    sensor: Integers
    rev: Integers
    record: Integers
    """Index into the batch's records."""
    value: NDArray[np.float64]
    quality: NDArray[np.int16]

    def only(self, chosen: "Mask | Integers") -> "Values":
        """The chosen values, in the order in which they are chosen."""
        return Values(
            self.device[chosen],
            self.ts[chosen],
            self.sensor[chosen],
            self.rev[chosen],
            self.record[chosen],
            self.value[chosen],
            self.quality[chosen],
        )


def values_of(blocks: Sequence[Block]) -> Values:
    """The blocks' measures taken apart."""

    def spread(column: str) -> Integers:
        return np.concatenate([np.repeat(getattr(block, column), len(block.sensors)) for block in blocks])

    sensors = [np.tile(np.array(block.sensors, np.int64), len(block.ts)) for block in blocks]
    return Values(
        spread("device"),
        spread("ts"),
        np.concatenate(sensors),
        spread("rev"),
        spread("record"),
        np.concatenate([block.values.ravel() for block in blocks]),
        np.concatenate([block.quality.ravel() for block in blocks]),
    )


def copy_blocks(blocks: Iterable[Block]) -> list[bytes]:
    """Rows of binary COPY, without its header and trailer, filled by broadcasting: no row is ever sorted."""
    pieces = []
    for block in blocks:
        rows = np.empty(block.values.shape, COPY_ROW)
        rows["ts"] = _microseconds(block.ts)[:, None]
        rows["value"] = block.values
        rows["rev"] = block.rev[:, None]
        rows["device"] = block.device[:, None]
        rows["sensor"] = np.array(block.sensors)[None, :]
        rows["quality"] = block.quality
        pieces.append(_with_lengths(rows))
    return pieces


def copy_values(values: Values) -> bytes:
    """As `copy_blocks`."""
    rows = np.empty(len(values.value), COPY_ROW)
    rows["ts"] = _microseconds(values.ts)
    rows["value"] = values.value
    rows["rev"] = values.rev
    rows["device"] = values.device
    rows["sensor"] = values.sensor
    rows["quality"] = values.quality
    return _with_lengths(rows)


def _microseconds(ts: Integers) -> Integers:
    return (ts - POSTGRES_EPOCH_S) * 1_000_000


def _with_lengths(rows: NDArray[Any]) -> bytes:
    for name, length in _LENGTHS.items():
        rows[name] = length
    return rows.tobytes()
