"""Reads files of comma-separated values as people make them: any usual encoding and delimiter, no guess in silence.

The same reader serves the replay, the watched folder and the platform's import of devices.
"""

import codecs
import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from metering_gateway.domain.table_row import TableRow

DELIMITERS = ";,\t|"
_LOOKED_AT_LINES = 100
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_BLOCK_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 16


class TableError(ValueError):
    """The file cannot be read as a table; the message names the line and what to change."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file and how it is written, found by looking at the whole of it."""

    path: Path
    encoding: str
    delimiter: str
    header: tuple[str, ...]

    def rows(self) -> Iterator[TableRow]:
        """Raises TableError for a row with more or fewer cells than the header; blank lines are passed over."""
        with self.path.open(encoding=self.encoding, newline="") as file:
            reader = csv.reader(file, delimiter=self.delimiter, strict=True)
            try:
                for cells in islice(_not_blank(reader), 1, None):
                    yield TableRow(reader.line_num, self._named(cells, reader.line_num))
            except csv.Error as error:
                raise TableError(f"{self.path}: line {reader.line_num}: {error}") from error

    def require(self, columns: Sequence[str]) -> None:
        """Raises TableError unless the header has each of these columns once."""
        counts = Counter(self.header)
        missing = sorted(name for name in columns if not counts[name])
        if missing:
            raise TableError(f"{self.path}: no column {', '.join(missing)}; it has {', '.join(self.header)}")
        twice = sorted(name for name in columns if counts[name] > 1)
        if twice:
            raise TableError(f"{self.path}: two columns are named {', '.join(twice)}: rename one of them")

    def _named(self, cells: list[str], line: int) -> dict[str, str]:
        if len(cells) != len(self.header):
            hint = " (a decimal comma? then quote the cells, or separate them by ;)" if self.delimiter == "," else ""
            text = f"line {line} has {len(cells)} cells, the header has {len(self.header)}{hint}"
            raise TableError(f"{self.path}: {text}")
        return dict(zip(self.header, cells, strict=True))


def open_table(path: Path, delimiter: str | None = None) -> Table:
    """Reads the file once over. Without a `delimiter` it is the one that gives the most columns, the same in each row.

    Raises OSError and TableError.
    """
    encoding = _encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        lines = list(islice(file, _LOOKED_AT_LINES))
    if not any(line.strip() for line in lines):
        raise TableError(f"{path}: the file is empty")
    found = delimiter or _delimiter(lines)
    try:
        header = next(_not_blank(csv.reader(lines, delimiter=found, strict=True)))
    except csv.Error as error:
        raise TableError(f"{path}: line 1: {error}") from error
    return Table(path, encoding, found, tuple(name.strip() for name in header))


def _not_blank(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    return (row for row in rows if any(cell.strip() for cell in row))


def _delimiter(lines: Sequence[str]) -> str:
    return max(DELIMITERS, key=lambda candidate: _regularity(lines, candidate))


def _regularity(lines: Sequence[str], delimiter: str) -> tuple[float, int]:
    """(share of rows with as many cells as the header, columns); nothing for a single column."""
    try:
        widths = [len(row) for row in _not_blank(csv.reader(lines, delimiter=delimiter))]
    except csv.Error:
        return 0.0, 0
    return (widths.count(widths[0]) / len(widths), widths[0]) if widths[0] > 1 else (0.0, 0)


def _encoding(path: Path) -> str:
    """By its byte order mark; else UTF-8 if all of it is; else UTF-16 or what a Spanish Windows writes."""
    with path.open("rb") as file:
        sample = file.read(_SAMPLE_BYTES)
    for mark, name in _BOMS.items():
        if sample.startswith(mark):
            return name
    if sample.count(0) > len(sample) // 4:
        return "utf-16-le" if sample[1::2].count(0) > sample[::2].count(0) else "utf-16-be"
    bad_at = _first_non_utf8(path)
    return "utf-8" if bad_at is None else _single_byte_encoding(path, bad_at)


def _first_non_utf8(path: Path) -> int | None:
    decoder, done = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        try:
            while block := file.read(_BLOCK_BYTES):
                decoder.decode(block)
                done += len(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            return max(0, done + error.start - 4)
    return None


def _single_byte_encoding(path: Path, bad_at: int) -> str:
    """Asks charset-normalizer, if it is installed (extra `csv`), about the text around the first odd byte."""
    with path.open("rb") as file:
        file.seek(max(0, bad_at - _SAMPLE_BYTES // 2))
        sample = file.read(_SAMPLE_BYTES)
    try:
        from charset_normalizer import from_bytes  # noqa: PLC0415  an extra
    except ImportError:
        return "cp1252"
    best = from_bytes(sample, cp_isolation=["cp1252", "iso8859_15", "cp850"]).best()
    return best.encoding if best else "cp1252"
