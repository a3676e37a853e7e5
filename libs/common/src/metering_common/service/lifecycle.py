"""How a service lives: opened by its bootstrap, run until a signal or a failure, drained within a set time."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol, TypeVar

import structlog
import uvloop

from metering_common.service import logs
from metering_common.service.settings import ProcessSettings

FAILED = 1  # exit status: run() ended or something could not be opened
YOUNG_OBJECTS = 50_000  # so many more of them before circles are looked for; 700 took a twentieth of ingest-api's time
DRAIN_EXCEEDED = 70  # exit status: the drain took longer than allowed (EX_SOFTWARE)

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Service(Protocol):
    """What a bootstrap builds."""

    async def run(self) -> None:
        """Works until it cannot go on: it returns or raises only then. While the context closes it is still running,
        so that the context's own end can let it finish what is in flight; what is left of it after that is cancelled.
        """
        ...


S = TypeVar("S", bound=ProcessSettings)
Build = Callable[[S], AbstractAsyncContextManager[Service]]


def serve(name: str, settings: S, build: Build[S]) -> int:
    """Runs the service `name` in this process and gives its exit status: 0 after a signal, 1 after a failure.

    SIGTERM and SIGINT leave the context of `build`, which drains. A drain longer than `settings.drain_seconds`, also
    one with a blocked event loop, ends the process with status 70. Logs are configured here, before `build`.
    """
    logs.configure(name, settings.log_level)
    return uvloop.run(_Life(settings.drain_seconds).live(build(settings)))


class _Life:
    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self._asked_to_stop = asyncio.Event()
        self._opening: asyncio.Task[int] | None = None

    async def live(self, context: AbstractAsyncContextManager[Service]) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self._opening = asyncio.create_task(self._open_and_run(context))
        try:
            return await self._opening
        except asyncio.CancelledError:
            log.info("service.stopped", while_starting=True)
            return 0
        except Exception as error:
            log.exception("service.failed", error=_describe(error))
            return FAILED

    def _stop(self) -> None:
        """While the context is being opened there is nothing to drain yet: the opening itself is cut short."""
        self._start_watchdog()
        self._asked_to_stop.set()
        if self._opening is not None:
            self._opening.cancel()

    async def _open_and_run(self, context: AbstractAsyncContextManager[Service]) -> int:
        async with context as service:
            self._opening = None
            log.info("service.started")
            _spare_the_collector()
            running = asyncio.create_task(service.run())
            status = await self._until_end(running)
            self._start_watchdog()
        await _cancel(running)
        log.info("service.stopped", status=status)
        return status

    async def _until_end(self, running: asyncio.Task[None]) -> int:
        stopping = asyncio.create_task(self._asked_to_stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await _cancel(stopping)
        if not running.done():
            log.info("service.draining", seconds=self._drain_seconds)
            return 0
        if running.cancelled():
            log.error("service.failed", error="run() was cut short, and not by a signal")
            return FAILED
        error = running.exception()
        log.error("service.failed", error=_describe(error) if error else "run() returned", exc_info=error)
        return FAILED

    def _start_watchdog(self) -> None:
        """A thread, since the event loop itself may be what does not end."""
        watchdog = threading.Timer(self._drain_seconds, _end_by_force)
        watchdog.daemon = True
        watchdog.start()


def _spare_the_collector() -> None:
    """What was made until now lives as long as the process, and a request makes many objects that are in no circle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


def _describe(error: BaseException) -> str:
    """Of a group of tasks that ended with one of them, that one's."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    return f"{type(error).__name__}: {error}"


def _end_by_force() -> None:
    log.error("service.drain_exceeded")
    sys.stdout.flush()
    os._exit(DRAIN_EXCEEDED)
