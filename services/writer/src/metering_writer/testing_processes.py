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
    """One writer; `start` again after `kill` or `terminate`."""

    def __init__(self, settings: WriterSettings, log: Path, name: str) -> None:
        self._environment = _environment(settings)
        self._log, self._name = log, name
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def start(self) -> None:
        self._starts = self.log().count('"service.started"') + 1
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "metering_writer"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)  # noqa: S603  our own

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
    chosen = settings.model_copy(update={"admin_port": 0})
    processes = [WriterProcess(chosen, folder / f"writer-{number}.log", str(number)) for number in range(count)]
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
            "KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
            "KAFKA_ENVIRONMENT": settings.kafka.environment,
        }
    )
