"""Keeps every process on a measure's way alive: what is killed comes back. Circus does the work.

`python -m metering_local.supervisor STATE PORT_BASE` is the supervisor itself; the rest of this file talks to it over
a socket that only its user can open.
"""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from signal import Signals
from typing import Any

import psutil
from circus import get_arbiter
from circus.client import CircusClient
from circus.exc import CallError

from metering_local.errors import EnvironmentProblemError
from metering_local.programs import Program, servers, services
from metering_local.stack import Stack
from metering_local.tether import tethered

MARK = "METERING_LOCAL_STATE"
"""In the environment of every supervised process: whose it is."""
CHECK_SECONDS = 0.5
GRACE_SECONDS = 25
ANSWER_SECONDS = 40
BUSY = "already running"


class SupervisorAwayError(Exception):
    """No supervisor answers for this stack."""


def start_supervisor(stack: Stack) -> None:
    """Start it in the background; the servers start with it, the services on `start_programs`."""
    command = [sys.executable, "-m", "metering_local.supervisor", str(stack.state), str(stack.ports.base)]
    with (stack.logs / "supervisor.log").open("ab") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/")  # noqa: S603  ours
    deadline = time.monotonic() + ANSWER_SECONDS
    while not is_running(stack):
        if time.monotonic() > deadline:
            raise EnvironmentProblemError(f"the supervisor did not start; see {stack.logs / 'supervisor.log'}")
        time.sleep(0.05)


def is_running(stack: Stack) -> bool:
    """True if a supervisor of this stack answers."""
    if supervisor_pid(stack) is None:
        return False
    try:
        _ask(stack, "numwatchers", timeout_seconds=5)
    except SupervisorAwayError:
        return False
    return True


def supervisor_pid(stack: Stack) -> int | None:
    """The process id of this state folder's supervisor; EnvironmentProblemError if it runs on other ports."""
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if command[1:4] == ["-m", "metering_local.supervisor", str(stack.state)]:
            if command[4:5] != [str(stack.ports.base)]:
                raise EnvironmentProblemError(
                    f"the platform of {stack.state} is up on the ports from {command[4]}:"
                    f" METERING_PORT_BASE={command[4]} make down ends it,"
                    " another METERING_STATE_DIR has room for a second one"
                )
            return int(process.pid)
    return None


def start_programs(stack: Stack, names: list[str]) -> None:
    """Start those that are not running."""
    for name in names:
        _ask(stack, "start", name=name)


def stop_programs(stack: Stack, names: list[str]) -> None:
    """End them in good order, all at once, and return when they have ended."""
    for name in names:
        _ask(stack, "stop", name=name)
    deadline = time.monotonic() + ANSWER_SECONDS
    while set(names) & {name for name, pid in process_ids(stack).items() if pid}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)


def process_ids(stack: Stack) -> dict[str, int | None]:
    """The process id of each program, None for one that is not running."""
    names = _ask(stack, "list")["watchers"]
    listed = {name: _ask(stack, "list", name=name).get("pids", []) for name in names}
    return {name: pids[0] if pids else None for name, pids in listed.items()}


def leave(stack: Stack) -> None:
    """End the supervisor, with whatever it still keeps."""
    pid = supervisor_pid(stack)
    if pid is None:  # killed: its socket is still there, and nobody would answer
        return
    with suppress(SupervisorAwayError):
        _ask(stack, "quit", waiting=True)
    _await_end([psutil.Process(pid)] if psutil.pid_exists(pid) else [])


def end_leftovers(stack: Stack) -> None:
    """Processes of a supervisor that was killed: they were told to end when it died; wait, then insist."""
    _await_end([process for process in psutil.process_iter() if _is_ours(process, stack)])


def _await_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=GRACE_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=GRACE_SECONDS)


def _is_ours(process: psutil.Process, stack: Stack) -> bool:
    try:
        return process.environ().get(MARK) == str(stack.state)
    except psutil.Error:
        return False


def _socket(stack: Stack) -> Path:
    return stack.control / "supervisor.sock"


def _ask(stack: Stack, command: str, timeout_seconds: float = ANSWER_SECONDS, **properties: Any) -> dict[str, Any]:
    """Circus does one thing at a time, its own rounds included, and refuses what comes between: ask again then."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = _ask_once(stack, command, timeout_seconds, properties)
        if answer.get("status") != "error":
            return answer
        if BUSY not in answer.get("reason", "") or time.monotonic() > deadline:
            raise EnvironmentProblemError(f"the supervisor refused to {command}: {answer.get('reason')}")
        time.sleep(0.05)


def _ask_once(stack: Stack, command: str, timeout_seconds: float, properties: dict[str, Any]) -> dict[str, Any]:
    if not _socket(stack).exists():
        raise SupervisorAwayError
    client = CircusClient(endpoint=f"ipc://{_socket(stack)}", timeout=timeout_seconds)
    try:
        return dict(client.send_message(command, **properties))
    except CallError as error:
        raise SupervisorAwayError(str(error)) from error
    finally:
        client.stop()


def _watcher(stack: Stack, program: Program, *, autostart: bool) -> dict[str, Any]:
    log = stack.logs / f"{program.name}.log"
    command = tethered(program.command, _parting(program), program.user, log)
    return {
        "name": program.name,
        "cmd": command[0],
        "args": command[1:],
        "env": program.environment | {MARK: str(stack.state)},
        "working_dir": "/",
        "stop_signal": Signals[program.stop_signal],
        "graceful_timeout": GRACE_SECONDS,
        "max_retry": -1,
        "autostart": autostart,
    }


def _parting(program: Program) -> str:
    """PostgreSQL ends at once on SIGQUIT and recovers when it starts; the others end in good order."""
    return "SIGQUIT" if program.name == "postgres" else "SIGTERM"


def main() -> None:
    """Be the supervisor, until told to quit."""
    stack = Stack(Path(sys.argv[1]), int(sys.argv[2]))
    watchers = [_watcher(stack, program, autostart=True) for program in servers(stack)]
    watchers += [_watcher(stack, program, autostart=False) for program in services(stack)]
    arbiter = get_arbiter(
        watchers,
        controller=f"ipc://{_socket(stack)}",
        pubsub_endpoint=f"ipc://{stack.control / 'events.sock'}",
        check_delay=CHECK_SECONDS,
    )
    arbiter.start()


if __name__ == "__main__":
    main()
