"""A line to the platform that is as slow as a test wants it, and that can be cut and counted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_SLICES_PER_SECOND = 50


@dataclass
class SlowLine:
    """A TCP relay that carries so many bytes a second in each direction, for all connections together.

    `open`: whether it takes connections; while it is False nothing is reached and what was under way is cut.
    """

    host: str
    port: int
    bytes_per_second: float
    url: str = ""
    open: bool = True
    carried_up: int = 0
    carried_down: int = 0
    _free_at: dict[str, float] = field(default_factory=lambda: {"up": 0.0, "down": 0.0})
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self) -> None:
        """Ends every connection at once."""
        for writer in list(self._writers):
            if writer.transport is not None:
                writer.transport.abort()

    def close_down(self) -> None:
        self.open = False
        self.cut()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self.open:
                await self._carry_both(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _carry_both(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection(self.host, self.port)
            ways = [
                asyncio.ensure_future(self._copy(reader, back, "up")),
                asyncio.ensure_future(self._copy(there, writer, "down")),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.wait(ways)
                back.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        slice_bytes = max(1, round(self.bytes_per_second / _SLICES_PER_SECOND))
        with suppress(OSError):
            while block := await reader.read(min(slice_bytes, 65_536)):
                await self._pace(way, len(block))
                writer.write(block)
                await writer.drain()

    async def _pace(self, way: str, count: int) -> None:
        now = asyncio.get_running_loop().time()
        begin = max(now, self._free_at[way])
        self._free_at[way] = begin + count / self.bytes_per_second
        if way == "up":
            self.carried_up += count
        else:
            self.carried_down += count
        await asyncio.sleep(self._free_at[way] - now)


@asynccontextmanager
async def slow_line(url: str, bytes_per_second: float) -> AsyncIterator[SlowLine]:
    """Stands before `url` on a free port of this machine; its `url` is the one to use instead."""
    parts = urlsplit(url)
    line = SlowLine(parts.hostname or "127.0.0.1", parts.port or 80, bytes_per_second)
    server = await asyncio.start_server(line.carry, "127.0.0.1", 0, limit=4_096)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield line
    finally:
        line.close_down()
        server.close()
        await asyncio.sleep(0.05)  # what was cut ends
