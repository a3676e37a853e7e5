"""Invariant 1 behind the validator: each accepted value is written, corrected, already present or superseded."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

from metering_writer.domain.columns import Block, Integers


class WriteResult(NamedTuple):
    """What became of a record's accepted values."""

    written: int = 0
    """The key had no value."""
    corrected: int = 0
    """It had another one, received earlier."""
    present: int = 0
    """It had this very one."""
    superseded: int = 0
    """It had another one, received later, which stays."""

    def plus(self, other: Self) -> "WriteResult":
        return WriteResult(*(mine + its for mine, its in zip(self, other, strict=True)))


def written_by(blocks: Iterable[Block], records: int) -> list[WriteResult]:
    """The write_result per record of blocks whose every row is new."""
    written = np.zeros(records, np.int64)
    for block in blocks:
        written += np.bincount(block.record, minlength=records) * len(block.sensors)
    return [WriteResult(written=count) for count in written.tolist()]


def counted(records: int, each: Mapping[str, Integers]) -> list[WriteResult]:
    """The write_result per record, from the records that the values of each write_result came from."""
    columns = [np.bincount(each[name], minlength=records).tolist() for name in WriteResult._fields]
    return [WriteResult(*column) for column in zip(*columns, strict=True)]


def total(write_results: Sequence[WriteResult]) -> WriteResult:
    """All records' together."""
    return (
        WriteResult(*(sum(column) for column in zip(*write_results, strict=True))) if write_results else WriteResult()
    )
