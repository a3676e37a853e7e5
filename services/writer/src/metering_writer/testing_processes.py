"""Writers as processes of their own, to be killed, stopped and woken by tests; not part of the service."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metering_writer.settings import WriterSettings

STOP_SECONDS = 90
STARTED_SECONDS = 180


class WriterProcess:
    """One writer, or its second program; `start` again after `kill` or `terminate`."""

    def __init__(self, settings: WriterSettings, log: Path, name: str, program: str | None = None) -> None:
        self._environment = _environment(settings)
        self._log, self._name = log, name
        self._command = [sys.executable, "-m", "metering_writer", *([program] if program else [])]
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        self._starts = self.log().count('"service.started"') + 1
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)  # noqa: S603  our own

    async def started(self) -> None:
        """Waits until it takes records."""
        async with asyncio.timeout(STARTED_SECONDS):
            while self.log().count('"service.started"') < self._starts:  # noqa: ASYNC110  in another process
                await asyncio.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """As kill -9, also when it is stopped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None

    def terminate(self) -> int:
        """SIGTERM and the exit status."""
        assert self._process is not None
        self._process.terminate()
        status = self._process.wait(STOP_SECONDS)
        self._process = None
        return status

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        return self._log.read_text("utf-8") if self._log.exists() else ""


@contextmanager
def writer_processes(settings: WriterSettings, folder: Path, count: int) -> Iterator[list[WriterProcess]]:
    """Not yet started; whatever still runs at the end is killed."""
    with _processes(settings, folder, "writer", count, None) as processes:
        yield processes


@contextmanager
def register_processes(settings: WriterSettings, folder: Path, count: int) -> Iterator[list[WriterProcess]]:
    """The second program of those writers, as `writer_processes`."""
    with _processes(settings, folder, "registers", count, "registers") as processes:
        yield processes


@contextmanager
def _processes(
    settings: WriterSettings, folder: Path, name: str, count: int, program: str | None
) -> Iterator[list[WriterProcess]]:
    chosen = settings.model_copy(update={"admin_port": 0})
    processes = [WriterProcess(chosen, folder / f"{name}-{one}.log", str(one), program) for one in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def _environment(settings: WriterSettings) -> dict[str, str]:
    """The settings as the environment has them."""
    own = {
        f"WRITER_{name}".upper(): str(value)
        for name, value in settings.model_dump(exclude={"kafka", "tracing", "database_url"}, exclude_none=True).items()
    }
    return (
        os.environ
        | own
        | {
            "WRITER_DATABASE_URL": settings.database_url.get_secret_value(),
            "REGISTERS_DATABASE_URL": settings.database_url.get_secret_value(),
            "REGISTERS_ADMIN_HOST": settings.admin_host,
            "REGISTERS_ADMIN_PORT": "0",
            "REGISTERS_PAUSE_SECONDS": "0.05",
            "REGISTERS_BATCH_NOTES": "20",
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "KAFKA_ENVIRONMENT": settings.kafka.environment,
        }
    )
