"""A local platform as its users start it, for tests that look at a measure's way from outside."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metering_local.checkout import PROGRAMS
from metering_local.free_ports import take
from metering_local.preflight import can_bind
from metering_local.programs import services
from metering_local.stack import PORT_COUNT, Ports, Stack

UP_SECONDS = 240
BASES = range(20_000, 30_000, PORT_COUNT)  # above the stack's own default, below what Kubernetes gives to Services


@dataclass(frozen=True)
class LocalStack:
    """`metering-local` with a state folder and ports of its own."""

    stack: Stack
    environment: dict[str, str]

    def run(self, *arguments: str, program: str = "metering-local") -> "subprocess.CompletedProcess[str]":
        command = [str(PROGRAMS / program), *arguments]
        return subprocess.run(  # noqa: S603  our own program
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=UP_SECONDS
        )

    def up(self) -> None:
        done = self.run("up")
        assert (done.returncode, done.stderr.strip()) == (0, "")

    def health(self, name: str) -> int | None:
        """The status of a process's /readyz; None while nothing answers there."""
        admin = next(program.admin for program in services(self.stack) if program.name == name)
        try:
            with urllib.request.urlopen(f"{admin}/readyz", timeout=5) as answer:  # noqa: S310  our own address
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def pids(self) -> dict[str, int | None]:
        return {process["name"]: process["pid"] for process in self.status()["processes"]}

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.run("status", "--json").stdout))


def local_stack(state: Path) -> LocalStack:
    base = free_base()
    environment = os.environ | {"METERING_STATE_DIR": str(state), "METERING_PORT_BASE": str(base)}
    return LocalStack(Stack(state, base), environment)


def free_base() -> int:
    """The first of PORT_COUNT ports for a stack, which nobody else is given while this process lives."""
    return next(base for base in BASES if _is_free(Ports(base)) and take(base + PORT_COUNT - 1))


def _is_free(ports: Ports) -> bool:
    return all(can_bind(host, port) for host, port in ports.listeners().values())
