"""A watched folder of CSV files: each is read once, all of it, and moved away when its measures are durable."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from metering_gateway.domain.csv_mapping import MappingError
from metering_gateway.domain.csv_rows import RowError
from metering_gateway.replay import open_csv
from metering_gateway.sources.base import Sink, Sleep, SourceError
from metering_gateway.tables import TableError

DONE, REFUSED = "done", "refused"
_TEMPORARY = (".tmp", ".part", "~")


@dataclass
class FolderSource:
    """Looks every `every_seconds`. A file counts as complete when two looks see the same size and time of change.

    One that cannot be read is moved to `refused/` with the reason beside it; the others go on. Files are read in the
    order of their names.
    """

    path: Path
    mapping: Path
    report: Callable[[str], None]
    pattern: str = "*.csv"
    every_seconds: float = 5.0
    sleep: Sleep = asyncio.sleep
    name: str = "folder"
    _seen: dict[Path, tuple[int, int]] = field(default_factory=dict)

    async def run(self, sink: Sink) -> None:
        while True:
            for file in await asyncio.to_thread(self._complete):
                await self._take(file, sink)
            await self.sleep(self.every_seconds)

    def _complete(self) -> list[Path]:
        try:
            files = sorted(p for p in self.path.glob(self.pattern) if p.is_file() and not p.name.endswith(_TEMPORARY))
            looks = {file: (file.stat().st_size, file.stat().st_mtime_ns) for file in files}
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read: {error.strerror}") from error
        complete = [file for file, look in looks.items() if self._seen.get(file) == look]
        self._seen = looks
        return complete

    async def _take(self, file: Path, sink: Sink) -> None:
        try:
            opened = await asyncio.to_thread(open_csv, file, self.mapping)
        except (RowError, TableError) as error:
            self.report(f"{self.name}: {error}: moved to {REFUSED}/")
            _move(file, REFUSED).with_suffix(".reason.txt").write_text(f"{error}\n", encoding="utf-8")
            return
        except (MappingError, OSError) as error:
            raise SourceError(str(error)) from error
        await sink.store_file(opened)
        _move(file, DONE)


def _move(file: Path, folder: str) -> Path:
    """A name that is taken gets a number: nothing is overwritten."""
    target = file.parent / folder / file.name
    target.parent.mkdir(exist_ok=True)
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{file.stem}-{number}{file.suffix}")
    os.replace(file, target)  # noqa: PTH105  Path.replace does the same; this reads as the move that it is
    return target
