"""What runs of the local platform, and whether a measure would get through now."""

from dataclasses import asdict, dataclass
from typing import Any

import psutil

from metering_local import supervisor
from metering_local.process import is_listening
from metering_local.programs import services
from metering_local.stack import Stack
from metering_local.up import not_ready_reason

MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class ProcessStatus:
    """One process: its id (None: not running), resident memory, and `ready` or why not."""

    name: str
    pid: int | None
    megabytes: int
    state: str


@dataclass(frozen=True)
class Status:
    """All processes; none when the platform is down."""

    processes: list[ProcessStatus]

    @property
    def ready(self) -> bool:
        return bool(self.processes) and all(process.state == "ready" for process in self.processes)

    def document(self) -> dict[str, Any]:
        return {"ready": self.ready, "processes": [asdict(process) for process in self.processes]}


def read_status(stack: Stack) -> Status:
    """Ask the supervisor and every health port."""
    if not supervisor.is_running(stack):
        return Status([])
    health = {program.name: program.admin for program in services(stack)}
    listening = {"kafka": stack.ports.kafka, "postgres": stack.ports.postgres, "caddy": stack.ports.api}
    return Status(
        [
            ProcessStatus(name, pid, _megabytes(pid), _state(pid, health.get(name), listening.get(name)))
            for name, pid in supervisor.process_ids(stack).items()
        ]
    )


def _state(pid: int | None, admin: str | None, port: int | None) -> str:
    if pid is None:
        return "not running"
    if admin is not None:
        return not_ready_reason(admin) or "ready"
    return "ready" if port is not None and is_listening(port) else "not listening"


def _megabytes(pid: int | None) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss // MEGABYTE) if pid else 0
    except psutil.Error:
        return 0
