"""The end of a pod: requests in flight are finished, those whose body is still on its way too."""

import asyncio
from contextlib import suppress


class Drain:
    """Counts the requests in work; `draining` makes every further answer the last one on its connection."""

    def __init__(self) -> None:
        self.draining = False
        self._in_work = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        self._in_work += 1
        self._idle.clear()

    def end(self) -> None:
        self._in_work -= 1
        if not self._in_work:
            self._idle.set()

    async def until_idle(self, seconds: float) -> None:
        """Returns when nothing is in work, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
