"""Runs the daemon: every source beside the sending, until a signal ends it; SIGHUP reads the configuration again."""

import asyncio
import logging
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from metering_gateway.daemon import systemd
from metering_gateway.daemon.build import build_sources
from metering_gateway.daemon.config import ConfigError, DaemonConfig, load_config
from metering_gateway.daemon.health import Health, write_health
from metering_gateway.disk import DiskFullError
from metering_gateway.domain.measures import SensorValues, UnstorableMeasureError
from metering_gateway.gateway import Gateway
from metering_gateway.notices import Notice, log_notice
from metering_gateway.outbox_file import OutboxDamagedError
from metering_gateway.replay import CsvFile, Replay
from metering_gateway.sources import Source, SourceError

_LOG = logging.getLogger("metering_gateway")
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 1.0, 60.0
_TROUBLES = {"trouble", "credentials", "waiting", "stopped"}
_SHUTDOWN_SECONDS = 10.0


class DaemonSink:
    """What the sources store into: the gateway's outbox."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def store(self, device_number: str, values: SensorValues, timestamp: int | None = None) -> None:
        self._gateway.store(device_number, values, timestamp)

    async def store_file(self, file: CsvFile) -> None:
        work = Replay(file, self._gateway.outbox, lambda _: None)
        work.begin(None)
        await work.store(None)
        work.finished()


class Daemon:
    """One run with one configuration."""

    def __init__(self, config: DaemonConfig, sources: Sequence[Source] | None = None) -> None:
        self._config = config
        self._sources = build_sources(config.sources, self._report) if sources is None else sources
        self._trouble = ""
        self._source_troubles = {source.name: "" for source in self._sources}

    async def run(self, stop: asyncio.Event) -> None:
        """Returns when `stop` is set and what could be sent at once is sent. Raises OutboxDamagedError."""
        async with Gateway(self._config.gateway(), self._notice) as gateway:
            sink, damaged = DaemonSink(gateway), asyncio.Event()
            tasks = [asyncio.create_task(self._keep_reading(source, sink, damaged)) for source in self._sources]
            tasks.append(asyncio.create_task(self._beat(gateway)))
            try:
                await self._send(gateway, stop, damaged)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            if damaged.is_set():
                raise OutboxDamagedError("the outbox is damaged: started again, it is set aside")

    async def _send(self, gateway: Gateway, stop: asyncio.Event, damaged: asyncio.Event) -> None:
        """Sends until the end; then what waits has some seconds to go, the rest goes at the next start."""
        ends = [asyncio.create_task(event.wait()) for event in (stop, damaged)]
        try:
            async with asyncio.timeout(None) as limit, gateway.sending():
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                limit.reschedule(asyncio.get_running_loop().time() + _SHUTDOWN_SECONDS)
        except Exception as error:  # noqa: BLE001  what waits, waits
            _LOG.info("ended with measures in the outbox: %s: %s", type(error).__name__, error)
        finally:
            for end in ends:
                end.cancel()

    async def _keep_reading(self, source: Source, sink: DaemonSink, damaged: asyncio.Event) -> None:
        """A source that fails is tried again; it never ends the others."""
        pause = _FIRST_RETRY_SECONDS
        while True:
            began = time.monotonic()
            try:
                await source.run(sink)
            except OutboxDamagedError:
                damaged.set()
                return
            except (SourceError, DiskFullError, UnstorableMeasureError, sqlite3.Error, OSError) as error:
                self._source_trouble(source, str(error))
            except Exception as error:  # noqa: BLE001  a source must not end the others, whatever is wrong with it
                _LOG.exception("source: %s: not foreseen", source.name)
                self._source_trouble(source, f"{type(error).__name__}: {error}")
            else:
                self._source_trouble(source, "it has ended")
                return
            pause = _FIRST_RETRY_SECONDS if time.monotonic() - began > _LONGEST_RETRY_SECONDS else pause * 2
            await asyncio.sleep(min(pause, _LONGEST_RETRY_SECONDS))
            self._source_troubles[source.name] = ""

    def _source_trouble(self, source: Source, text: str) -> None:
        self._source_troubles[source.name] = text
        self._report(f"{source.name}: {text}")

    def _report(self, text: str) -> None:
        self._notice(Notice("source", text))

    def _notice(self, notice: Notice) -> None:
        if notice.kind in _TROUBLES:
            self._trouble = notice.text
        elif notice.kind == "recovered":
            self._trouble = ""
        log_notice(notice)

    async def _beat(self, gateway: Gateway) -> None:
        """Health file and watchdog; both stop if this loop does."""
        settings = self._config.health
        every = min(filter(None, (settings.every_seconds, systemd.watchdog_seconds())))
        while True:
            systemd.notify("WATCHDOG=1")
            if settings.file is not None:
                write_health(settings.file, self.health(gateway))
            await asyncio.sleep(every)

    def health(self, gateway: Gateway) -> Health:
        account = gateway.outbox.account()
        return Health(
            at=int(time.time()),
            pid=os.getpid(),
            trouble=self._trouble,
            sources=dict(self._source_troubles),
            waiting=account["waiting"],
            unknown=account["unknown"],
            refused=account["refused"],
            dropped=account["dropped_measures"],
            sent=account["sent_measures"],
            free_bytes=gateway.outbox.free_bytes(),
        )


async def run_daemon(path: Path, started: Callable[[], None] = lambda: None) -> None:
    """Until SIGINT or SIGTERM. On SIGHUP the file is read again; one with a mistake is reported and not taken.

    Raises OSError, ConfigError and OutboxDamagedError.
    """
    loop, signals = asyncio.get_running_loop(), asyncio.Queue[signal.Signals]()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, signals.put_nowait, number)
    config = load_config(path)
    while True:
        stop = asyncio.Event()
        run = asyncio.create_task(Daemon(config).run(stop))
        systemd.notify("READY=1")
        started()
        again = await _next_config(path, signals, run)
        systemd.notify("RELOADING=1" if again else "STOPPING=1")
        stop.set()
        await run
        if again is None:
            return
        config = again


async def _next_config(
    path: Path, signals: "asyncio.Queue[signal.Signals]", run: "asyncio.Task[None]"
) -> DaemonConfig | None:
    """The configuration to go on with, or None to end."""
    while True:
        next_signal = asyncio.create_task(signals.get())
        await asyncio.wait([next_signal, run], return_when=asyncio.FIRST_COMPLETED)
        if run.done():
            next_signal.cancel()
            return None
        if next_signal.result() is not signal.SIGHUP:
            return None
        try:
            config = load_config(path)
        except (OSError, ConfigError) as error:
            _LOG.error("the configuration is not taken, the old one stays: %s", error)
            continue
        _LOG.info("the configuration is read again")
        return config
