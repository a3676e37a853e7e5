"""Rows of PostgreSQL's binary COPY as numpy arrays: a field count, then each field behind its length, big-endian."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"
_EPOCH_S = 946_684_800  # 2000-01-01 UTC, where PostgreSQL's time begins
_LENGTH = "_length"

Integers = NDArray[np.int64]


class Column(NamedTuple):
    """A column of fixed width that is never NULL."""

    name: str
    binary: str
    """Its numpy type."""


def row_type(columns: Sequence[Column]) -> np.dtype[Any]:
    """One row: `n`, then `<name>_length` and `<name>` for each column."""
    fields = [field for name, binary in columns for field in ((name + _LENGTH, ">i4"), (name, binary))]
    return np.dtype([("n", ">i2"), *fields])


def new_rows(shape: int | tuple[int, ...], row: np.dtype[Any], more_fields: int = 0) -> NDArray[Any]:
    """Rows whose counts and lengths are filled in; `more_fields` are still to be put behind each."""
    rows = np.empty(shape, row)
    names = [name for name in row.names or () if not name.endswith(_LENGTH) and name != "n"]
    rows["n"] = len(names) + more_fields
    for name in names:
        rows[name + _LENGTH] = row[name].itemsize
    return rows


def parse_rows(data: bytes | bytearray, row: np.dtype[Any]) -> NDArray[Any]:
    """What COPY TO has written, NULLs excluded."""
    count = (len(data) - len(COPY_HEADER) - len(COPY_TRAILER)) // row.itemsize
    return np.frombuffer(data, row, count, len(COPY_HEADER))


def field(value: bytes | None) -> bytes:
    """A field of any width behind its length."""
    return b"\xff\xff\xff\xff" if value is None else len(value).to_bytes(4) + value


def timestamps(unix_seconds: Integers) -> Integers:
    """As timestamptz has them: microseconds since 2000."""
    return (unix_seconds - _EPOCH_S) * 1_000_000


def timestamps_of_ms(unix_ms: Integers) -> Integers:
    """The same from milliseconds."""
    return (unix_ms - _EPOCH_S * 1_000) * 1_000
