"""Runs one process of the local platform in the foreground, with its environment; the supervisor waits meanwhile."""

import os
import signal
import subprocess
from collections.abc import Callable

from metering_local import supervisor
from metering_local.errors import EnvironmentProblemError
from metering_local.programs import Program, services
from metering_local.stack import Stack

ENDING = (signal.SIGINT, signal.SIGTERM)


def run_in_foreground(stack: Stack, name: str, announce: Callable[[str], None]) -> int:
    """Ends the supervised process `name`, runs the same command in this terminal, and starts it again afterwards.

    Ctrl-C reaches the process, which drains. Returns its exit status. Raises `EnvironmentProblemError` for a name that
    is none, `SupervisorAwayError` when the platform is not up.
    """
    program = _find(stack, name)
    was_running = supervisor.process_ids(stack)[name] is not None
    supervisor.stop_programs(stack, [name])
    announce(f"{name} runs here until Ctrl-C; its health port is {program.admin}")
    try:
        return _run(program)
    finally:
        if was_running:
            supervisor.start_programs(stack, [name])


def _find(stack: Stack, name: str) -> Program:
    programs = {program.name: program for program in services(stack)}
    if name not in programs:
        raise EnvironmentProblemError(f"there is no process {name!r}; there are {', '.join(programs)}")
    return programs[name]


def _run(program: Program) -> int:
    """Waits until it ends; the signals that would end this tool end the process, and the tool after it."""
    with subprocess.Popen(program.command, env=os.environ | program.environment) as process:  # noqa: S603  ours
        handlers = {number: signal.signal(number, _pass_on(process, number)) for number in ENDING}
        try:
            return process.wait()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _pass_on(process: subprocess.Popen[bytes], number: signal.Signals) -> Callable[[int, object], None]:
    return lambda _number, _frame: process.send_signal(number)
