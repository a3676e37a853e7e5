"""One server process beside a test or the stack's set-up: started, waited for, hurt on purpose, always ended."""

import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM, Signals

HOST = "127.0.0.1"
POLL_SECONDS = 0.02


class ServerFailedError(Exception):
    """A server ended, or did not listen in time; the message ends with the last lines of its log."""


def is_listening(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _sleeps(pid: int) -> bool:
    """Whether every thread is stopped, as proc(5) has it; one that ends meanwhile does not count."""
    states = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            states.add((thread / "stat").read_text().rpartition(")")[2].split()[0])
    return states <= {"T", "Z", "X"}


class ServerProcess:
    """A command that serves a port of this machine; its output goes to the file `log`."""

    def __init__(self, command: list[str], port: int, log: Path, environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self.port = port
        self.log = log
        self.pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ready: Callable[[], bool], timeout_seconds: float = 60) -> None:
        """Start the process and return when `ready` says so; ServerFailedError if it ends or takes longer.

        Call it from a thread that lasts: Linux takes the end of the thread that started a tethered process for the end
        of its parent.
        """
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603  the command is ours, no shell
                self._command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=self._environment,
                start_new_session=True, cwd=self.log.parent,
            )  # fmt: skip
        self.pid = self._process.pid
        self._wait_until(ready, timeout_seconds)

    def signal(self, number: Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP: the process sleeps with all its connections open; returns when its last thread does."""
        self.signal(SIGSTOP)
        while self._process is not None and self._process.poll() is None and not _sleeps(self._process.pid):
            time.sleep(0.001)

    def resume(self) -> None:
        self.signal(SIGCONT)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self.signal(SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self, number: Signals = SIGTERM, timeout_seconds: float = 15) -> None:
        """End it in good order, or with kill -9 after the time-out; harmless when it is not running."""
        if self._process is None or self._process.poll() is not None:
            return
        self.resume()
        self.signal(number)
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def _wait_until(self, ready: Callable[[], bool], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if self._process is None or self._process.poll() is not None:
                raise ServerFailedError(f"{self._command[0]} ended while starting:\n{self.last_lines()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailedError(f"{self._command[0]} not ready in {timeout_seconds} s:\n{self.last_lines()}")
            time.sleep(POLL_SECONDS)

    def last_lines(self, count: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
