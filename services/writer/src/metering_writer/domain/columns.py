"""Accepted rows become sorted blocks of columns and PostgreSQL's COPY bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from metering_writer.domain.binary_copy import Column, Integers, new_rows, row_type, timestamps
from metering_writer.domain.entries import ValidatedEntry

MEASUREMENT = (
    Column("ts", ">i8"),
    Column("value", ">f8"),
    Column("rev", ">i8"),
    Column("device_id", ">i4"),
    Column("sensor_id", ">i2"),
    Column("quality", ">i2"),
)
"""The columns of `measurement`, for COPY, for staging and for what is looked up."""
COPY_COLUMNS = tuple(column.name for column in MEASUREMENT)
COPY_ROW = row_type(MEASUREMENT)

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Block:
    """Measures that name the same sensors, sorted by (device, time, rev). One entry per measure."""

    sensors: tuple[int, ...]
    device: Integers
    ts: Integers
    """Unix seconds."""
    rev: Integers
    entry: Integers
    """Index into the batch's entries."""
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
            self.entry[chosen],
            self.values[chosen],
            self.quality[chosen],
        )


@dataclass(slots=True)
class _Lists:
    """What is gathered of one sensor list before it becomes arrays."""

    ts: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    quality: list[int] = field(default_factory=list)
    """Empty as long as every value so far is good."""
    entry: list[int] = field(default_factory=list)
    measures: list[int] = field(default_factory=list)
    """How many of `ts` each of `entry` brought."""


def blocks_of(entries: Sequence[ValidatedEntry]) -> list[Block]:
    """All rows of the entries, which must have passed `entries.check`, as one block per list of sensors."""
    gathered: dict[tuple[int, ...], _Lists] = {}
    for index, entry in enumerate(entries):
        for rows in entry.validated.rows:
            if rows.values:
                if (lists := gathered.get(rows.sensors)) is None:
                    lists = gathered[rows.sensors] = _Lists()
                if rows.quality and not lists.quality:
                    lists.quality.extend([0] * len(lists.values))
                if lists.quality or rows.quality:
                    lists.quality.extend(rows.quality or [0] * len(rows.values))
                lists.ts.extend(rows.timestamps)
                lists.values.extend(rows.values)
                lists.entry.append(index)
                lists.measures.append(len(rows.timestamps))
    device = np.array([entry.metadata.device_id for entry in entries], np.int64)
    rev = np.array([entry.metadata.rev for entry in entries], np.int64)
    return [_sorted_block(sensors, lists, device, rev) for sensors, lists in gathered.items()]


def _sorted_block(sensors: tuple[int, ...], lists: _Lists, device: Integers, rev: Integers) -> Block:
    """Measures by (device, time, rev), sensors by their ids: a single block's rows are in the order of the key."""
    shape = (len(lists.ts), len(sensors))
    entry = np.repeat(np.array(lists.entry, np.int64), lists.measures)
    ts = np.array(lists.ts, np.int64)
    values = np.array(lists.values, np.float64).reshape(shape)
    quality = np.array(lists.quality, np.int16).reshape(shape) if lists.quality else np.zeros(shape, np.int16)
    order = np.lexsort((rev[entry], ts, device[entry]))
    by_id = np.argsort(sensors, kind="stable")
    chosen = np.ix_(order, by_id)
    entry = entry[order]
    return Block(
        tuple(sensors[place] for place in by_id),
        device[entry],
        ts[order],
        rev[entry],
        entry,
        values[chosen],
        quality[chosen],
    )


@dataclass(frozen=True, slots=True)
class Values:
    """Single values, one entry each in every column."""

    device: Integers
    ts: Integers
    """Unix seconds."""
    sensor: Integers
    rev: Integers
    entry: Integers
    """Index into the batch's entries."""
    value: NDArray[np.float64]
    quality: NDArray[np.int16]

    def only(self, chosen: "Mask | Integers") -> "Values":
        """The chosen values, in the order in which they are chosen."""
        return Values(
            self.device[chosen],
            self.ts[chosen],
            self.sensor[chosen],
            self.rev[chosen],
            self.entry[chosen],
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
        spread("entry"),
        np.concatenate([block.values.ravel() for block in blocks]),
        np.concatenate([block.quality.ravel() for block in blocks]),
    )


def copy_block(block: Block) -> bytes:
    """Rows of binary COPY, without its header and trailer, filled by broadcasting: no row is ever sorted."""
    rows = new_rows(block.values.shape, COPY_ROW)
    rows["ts"] = timestamps(block.ts)[:, None]
    rows["value"] = block.values
    rows["rev"] = block.rev[:, None]
    rows["device_id"] = block.device[:, None]
    rows["sensor_id"] = np.array(block.sensors)[None, :]
    rows["quality"] = block.quality
    return rows.tobytes()


def copy_values(values: Values) -> bytes:
    """As `copy_block`."""
    rows = new_rows(len(values.value), COPY_ROW)
    rows["ts"] = timestamps(values.ts)
    rows["value"] = values.value
    rows["rev"] = values.rev
    rows["device_id"] = values.device
    rows["sensor_id"] = values.sensor
    rows["quality"] = values.quality
    return rows.tobytes()


def copy_new(blocks: Sequence[Block], values: Values | None) -> bytes:
    """Blocks and single values together, in the order of the key.

    Two writers that bring the same keys then wait for each other, and never in a circle.
    """
    if len(blocks) == 1 and values is None:
        return copy_block(blocks[0])
    parts = [values_of(blocks)] if blocks else []
    if values is not None:
        parts.append(values)
    return copy_values(in_key_order(parts)) if parts else b""


def in_key_order(parts: Sequence[Values]) -> Values:
    """All together, by (device, time, sensor)."""
    together = Values(*[np.concatenate([getattr(part, name) for part in parts]) for name in Values.__slots__])
    return together.only(np.lexsort((together.sensor, together.ts, together.device)))
