"""Replays a CSV file as if its meters stood here: stored row by row in the outbox, resumable after any kill."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from metering_gateway.domain.csv_mapping import FileMapping, MappingError, read_mapping
from metering_gateway.domain.csv_rows import FileFormat, RowError, RowMeasures, days_to_move, look_at, measures_of
from metering_gateway.outbox import Outbox
from metering_gateway.tables import Table, open_table

ROWS_AT_ONCE = 200  # per transaction at full speed

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file and its mapping, read once over: `source` tells it from others by its content and its mapping."""

    table: Table
    mapping: FileMapping
    form: FileFormat
    source: str

    def rows(self, shift_days: int = 0) -> Iterator[RowMeasures]:
        """Raises RowError and TableError."""
        return measures_of(self.table.rows(), self.mapping, self.form, shift_days)

    def description(self) -> dict[str, object]:
        """How the file was understood, for people to check."""
        return {
            "encoding": self.table.encoding,
            "delimiter": self.table.delimiter,
            "decimal": self.form.numbers.decimal,
            "thousands": self.form.numbers.thousands,
            "zone": str(self.mapping.zone) if self.mapping.zone else None,
            "rows": self.form.row_count,
        }


def open_csv(path: Path, mapping_path: Path, end: str = "as-is") -> CsvFile:
    """Reads the whole file, so that a row that cannot be read is reported before anything is stored.

    `end` belongs to the file's identity: moved otherwise, it is another replay.
    Raises OSError, MappingError, TableError and RowError; each says in one line what is wrong.
    """
    mapping_text = mapping_path.read_bytes()
    mapping = load_mapping(mapping_path)
    table = open_table(path, mapping.delimiter)
    table.require(mapping.columns())
    try:
        file = CsvFile(table, mapping, look_at(table.rows(), mapping), _source(path, mapping_text, end))
        for _ in file.rows():
            pass
    except RowError as error:
        raise RowError(f"{path}: {error}") from error
    return file


def load_mapping(path: Path) -> FileMapping:
    """Raises OSError and MappingError."""
    try:
        return read_mapping(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise MappingError(f"{path}: {error}") from error


def _source(path: Path, mapping_text: bytes, end: str) -> str:
    with path.open("rb") as content:
        parts = (hashlib.file_digest(content, "sha256").digest(), hashlib.sha256(mapping_text).digest(), end.encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()


class Replay:
    """Stores a file's measures at a given speed, from where an interrupted replay of it stopped."""

    def __init__(self, file: CsvFile, outbox: Outbox, progress: Progress) -> None:
        self._file = file
        self._outbox = outbox
        self._progress = progress

    def begin(self, end: date | None) -> int:
        """How many rows are stored already. An interrupted replay keeps its days, also past midnight."""
        held = self._outbox.replay(self._file.source)
        if held is None or held.finished:
            self._outbox.replay_begins(self._file.source, days_to_move(self._file.form.last_day, end))
            return 0
        return held.rows_stored

    async def store(self, speed: float | None) -> None:
        """`speed` seconds of the file pass in one second; without, as fast as the disk takes it."""
        held = self._outbox.replay(self._file.source)
        if held is None:
            raise RuntimeError("begin comes first")
        waiting = (row for row in self._file.rows(held.shift_days) if row.number >= held.rows_stored)
        self._progress(held.rows_stored)
        if speed is None:
            await self._store_fast(waiting)
        else:
            await self._store_paced(waiting, speed)

    def finished(self) -> None:
        self._outbox.replay_finished(self._file.source)

    async def _store_fast(self, rows: Iterator[RowMeasures]) -> None:
        block: list[RowMeasures] = []
        for row in rows:
            block.append(row)
            if len(block) == ROWS_AT_ONCE:
                self._store(block)
                block = []
                await asyncio.sleep(0)
        if block:
            self._store(block)

    async def _store_paced(self, rows: Iterator[RowMeasures], speed: float) -> None:
        loop = asyncio.get_running_loop()
        began, first = loop.time(), None
        for row in rows:
            first = row.timestamp if first is None else first
            await asyncio.sleep(began + (row.timestamp - first) / speed - loop.time())
            self._store([row])

    def _store(self, rows: list[RowMeasures]) -> None:
        done = rows[-1].number + 1
        self._outbox.replay_stored(self._file.source, done, (m for row in rows for m in row.measures))
        self._progress(done)
