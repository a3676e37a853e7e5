"""Lines of JSON on standard input or a FIFO: {"device": "29", "timestamp": 1773241500, "values": {"Corriente A": 1.4}}.

`timestamp` may be left out: the measure is of this moment.
"""

import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metering_gateway.domain.measures import UnstorableMeasureError
from metering_gateway.sources.base import Names, Sink, SourceError

LONGEST_LINE_BYTES = 1 << 20
Report = Callable[[str], None]


@dataclass
class LineSource:
    """`path` None is standard input. A FIFO is made if it is missing, and read on after a writer has closed it.

    A line that cannot be read is reported and passed over: it costs its neighbours nothing.
    """

    path: Path | None
    report: Report
    names: Names = field(default_factory=lambda: Names({}, {}))
    name: str = "lines"

    async def run(self, sink: Sink) -> None:
        async with self._opened() as reader:
            async for number, line in _lines(reader):
                try:
                    self._store(sink, line)
                except (ValueError, RecursionError, UnstorableMeasureError) as error:
                    self.report(f"{self.name}: line {number} is passed over: {error}")

    def _store(self, sink: Sink, line: bytes) -> None:
        document = _object(line)
        timestamp = document.get("timestamp")
        if timestamp is not None and (isinstance(timestamp, bool) or not isinstance(timestamp, int)):
            raise ValueError("timestamp: whole Unix seconds are expected")
        device = self.names.devices.get(document["device"], document["device"])
        sink.store(device, self.names.values(document["values"]), timestamp)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[asyncio.StreamReader]:
        """A FIFO is opened for writing too, so that it does not end when a writer goes away."""
        try:
            descriptor = os.dup(sys.stdin.fileno()) if self.path is None else _open_fifo(self.path)
        except OSError as error:
            raise SourceError(f"{self.path} cannot be opened: {error.strerror}") from error
        reader = asyncio.StreamReader(limit=LONGEST_LINE_BYTES)
        file = os.fdopen(descriptor, "rb", buffering=0)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        try:
            yield reader
        finally:
            transport.close()


def _open_fifo(path: Path) -> int:
    if not path.exists():
        os.mkfifo(path, 0o660)
    if not stat.S_ISFIFO(path.stat().st_mode):
        raise SourceError(f"{path} is no FIFO")
    return os.open(path, os.O_RDWR | os.O_NONBLOCK)


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[tuple[int, bytes]]:
    number = 0
    while True:
        number += 1
        try:
            line = await reader.readline()
        except ValueError as error:
            raise SourceError(f"line {number} is longer than {LONGEST_LINE_BYTES} bytes") from error
        if not line:
            return
        if line.strip():
            yield number, line


def _object(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(document, dict) or not isinstance(document.get("device"), str):
        raise ValueError('an object with "device" (text) is expected')  # noqa: TRY004  bad input
    if not isinstance(document.get("values"), dict):
        raise ValueError('"values" (an object) is expected')  # noqa: TRY004  bad input
    return document
