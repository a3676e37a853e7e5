"""Replays a CSV file as if its meters stood here: stored row by row in the outbox, resumable after any kill."""

import asyncio
import csv
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from metering_gateway.domain.csv_mapping import FileMapping, MappingError, read_mapping
from metering_gateway.domain.csv_rows import Row, RowError, RowMeasures, days_to_move, local_time, measures_of
from metering_gateway.outbox import Outbox

ROWS_AT_ONCE = 200  # per transaction at full speed

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file and its mapping, read once over: `source` tells it from others by its content and its mapping."""

    path: Path
    mapping: FileMapping
    source: str
    row_count: int
    last_day: date

    def rows(self) -> Iterator[Row]:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            yield from csv.DictReader(file, delimiter=self.mapping.delimiter)


def open_csv(path: Path, mapping_path: Path, end: str) -> CsvFile:
    """`end` belongs to the file's identity: moved otherwise, it is another replay.

    Raises OSError, MappingError and RowError; each says in one line what is wrong.
    """
    mapping_text = mapping_path.read_bytes()
    try:
        mapping = read_mapping(json.loads(mapping_text))
    except (ValueError, RecursionError) as error:
        raise MappingError(f"{mapping_path}: {error}") from error
    with path.open("rb") as content:
        parts = (hashlib.file_digest(content, "sha256").digest(), hashlib.sha256(mapping_text).digest(), end.encode())
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    row_count, last = 0, datetime.min  # noqa: DTZ901  # compared with times of the file's wall only
    for row in CsvFile(path, mapping, digest, 0, last.date()).rows():
        if row_count == 0:
            _require_columns(row, mapping, path)
        last = max(last, local_time(row, mapping, row_count + 2))
        row_count += 1
    if row_count == 0:
        raise RowError(f"{path}: no row after the header")
    return CsvFile(path, mapping, digest, row_count, last.date())


def _require_columns(row: Row, mapping: FileMapping, path: Path) -> None:
    missing = sorted(mapping.columns() - set(row))
    if missing:
        raise MappingError(f"{path}: no column {', '.join(missing)}; it has {', '.join(map(str, row))}")


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
            self._outbox.replay_begins(self._file.source, days_to_move(self._file.last_day, end))
            return 0
        return held.rows_stored

    async def store(self, speed: float | None) -> None:
        """`speed` seconds of the file pass in one second; without, as fast as the disk takes it."""
        held = self._outbox.replay(self._file.source)
        if held is None:
            raise RuntimeError("begin comes first")
        rows = measures_of(self._file.rows(), self._file.mapping, held.shift_days)
        waiting = (row for row in rows if row.number >= held.rows_stored)
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
