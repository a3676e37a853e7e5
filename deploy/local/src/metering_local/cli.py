"""`metering-local up|down|status|logs|follow|run|clean`: the platform that measures go through, on this machine."""

import argparse
import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from metering_common.service.output import Printing
from metering_local import supervisor
from metering_local.demo_site import ToolError
from metering_local.down import bring_down
from metering_local.errors import EnvironmentProblemError
from metering_local.follow import follow_batch
from metering_local.foreground import run_in_foreground
from metering_local.process import ServerFailedError
from metering_local.stack import Stack
from metering_local.status import Status, read_status
from metering_local.up import bring_up


def main() -> int:
    """Run one command; 0 if it did what it says, 1 with one line on stderr if the machine is in the way."""
    arguments = _parser().parse_args()
    return run_command(lambda: int(arguments.run(Stack.from_environment(), arguments)))


def run_command(command: Callable[[], int]) -> int:
    """The command's exit status; what is wrong with the machine is told in one line, never as a traceback."""
    try:
        with Printing():
            return command()
    except (EnvironmentProblemError, ServerFailedError, supervisor.SupervisorAwayError, ToolError) as error:
        _fail(str(error) or "the platform is not up")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(f"no disk space left: {error.filename or 'the state folder'} could not be written")
    except KeyboardInterrupt:
        _fail("interrupted; `make up` goes on from here, `make down` ends what runs")
    return 0


def progress_display() -> Progress:
    """Progress on stderr, so that stdout stays for what was asked; none where nobody watches."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:42}"), BarColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _up(stack: Stack, _: argparse.Namespace) -> int:
    with progress_display() as progress:
        bring_up(stack, progress)
    print(f"The platform is ready at {stack.api_url}; `. {stack.local_env}` for its other addresses.")
    return 0


def _down(stack: Stack, _: argparse.Namespace) -> int:
    bring_down(stack)
    print("The platform is down; its data stays.")
    return 0


def _status(stack: Stack, arguments: argparse.Namespace) -> int:
    status = read_status(stack)
    print(json.dumps(status.document()) if arguments.json else _table(status))
    return 0 if status.ready else 1


def _table(status: Status) -> str:
    if not status.processes:
        return "The platform is down."
    head = f"{'process':14}{'pid':>8}{'MB':>7}  state"
    rows = [f"{one.name:14}{one.pid or '-':>8}{one.megabytes:>7}  {one.state}" for one in status.processes]
    return "\n".join([head, *rows])


def _logs(stack: Stack, arguments: argparse.Namespace) -> int:
    files = sorted(stack.logs.glob(f"{arguments.name or '*'}.log"))
    if not files:
        raise EnvironmentProblemError(f"there is no log of {arguments.name or 'anything'} in {stack.logs}")
    follow = ["-F"] if arguments.follow else []
    return subprocess.call(["tail", "-n", str(arguments.lines), *follow, *map(str, files)])  # noqa: S603, S607  ours


def _follow(stack: Stack, arguments: argparse.Namespace) -> int:
    tour = follow_batch(stack.logs, arguments.batch)
    print("\n".join(tour) if tour else f"No log in {stack.logs} names the batch {arguments.batch!r}.")
    return 0 if tour else 1


def _run(stack: Stack, arguments: argparse.Namespace) -> int:
    return run_in_foreground(stack, arguments.name, lambda line: print(line, file=sys.stderr))


def _clean(stack: Stack, _: argparse.Namespace) -> int:
    bring_down(stack)
    if (stack.state / "postgres").exists() or (stack.state / "secrets.json").exists():
        shutil.rmtree(stack.postgres.data, ignore_errors=True)
    shutil.rmtree(stack.state, ignore_errors=True)
    print(f"The platform is down and {stack.state} is gone, with all data and secrets.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="metering-local", description=__doc__)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("up", help="bring the platform up and wait until it is ready").set_defaults(run=_up)
    commands.add_parser("down", help="end it; its data stays").set_defaults(run=_down)
    status = commands.add_parser("status", help="every process and whether it is ready; exit 0 if all are")
    status.add_argument("--json", action="store_true")
    status.set_defaults(run=_status)
    logs = commands.add_parser("logs", help="the end of the logs")
    logs.add_argument("name", nargs="?", help="of one process, e.g. validator")
    logs.add_argument("--lines", type=int, default=20)
    logs.add_argument("--follow", action="store_true")
    logs.set_defaults(run=_logs)
    follow = commands.add_parser("follow", help="what happened to one batch, from the logs")
    follow.add_argument("batch", help="its id, as in the answer's Location or the ledger")
    follow.set_defaults(run=_follow)
    run = commands.add_parser("run", help="one process in the foreground, with the platform's environment")
    run.add_argument("name", help="as `status` lists it, e.g. validator")
    run.set_defaults(run=_run)
    commands.add_parser("clean", help="end it and delete its data and secrets").set_defaults(run=_clean)
    return parser


def _fail(line: str) -> NoReturn:
    sys.stderr.write(" ".join(line.split()) + "\n")
    raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main())
