"""A service's process of its own, asked from outside while it starts, waits or ends."""

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metering_local.free_ports import free_port
from metering_local.process import HOST

PREFIXES = {"auth": "AUTH", "ingest-api": "INGEST", "validator": "VALIDATOR", "writer": "WRITER", "ecl-poller": "ECL"}
START_SECONDS = 90
AT_ONCE_SECONDS = 5
"""What ends while it waits has nothing to drain; a busy machine is given some time to notice that."""


@dataclass(frozen=True)
class Started:
    """A service's process, asked from outside."""

    name: str
    process: "subprocess.Popen[bytes]"
    url: str
    log: Path

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body; 0 while its port is closed."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def reasons(self) -> dict[str, str] | None:
        """What /readyz says; None while nobody answers."""
        status, body = self.ask("/readyz")
        return dict(json.loads(body)["reasons"]) if status else None

    def told(self, event: str) -> list[dict[str, Any]]:
        """Its own lines in the log with this event."""
        lines = (json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def until(self, wanted: Callable[["Started"], bool]) -> None:
        end = time.monotonic() + START_SECONDS
        while not wanted(self):
            where = f"{self.name}: {self.reasons()} {self.log.read_text()[-2_000:]}"
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {where}"
            assert time.monotonic() < end, where
            time.sleep(0.05)

    def end(self) -> int:
        """Its exit status after a SIGTERM."""
        self.process.terminate()
        return self.process.wait(AT_ONCE_SECONDS)


@contextmanager
def started(name: str, folder: Path, environment: dict[str, str]) -> Iterator[Started]:
    prefix, port = PREFIXES[name], free_port()
    own = {f"{prefix}_ADMIN_HOST": HOST, f"{prefix}_ADMIN_PORT": str(port), "PATH": os.environ["PATH"]}
    log = folder / f"{name}.{port}.log"
    command = [sys.executable, "-m", f"metering_{name.replace('-', '_')}"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=own | environment, stdout=output, stderr=output)
    try:
        yield Started(name, process, f"http://{HOST}:{port}", log)
    finally:
        process.kill()
        process.wait()
