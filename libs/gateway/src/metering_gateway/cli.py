"""The command line of the reference gateway: replay a file, send one measure, look at the outbox, import a token."""

import argparse
import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from metering_gateway import commands
from metering_gateway.api import InvalidUrlError
from metering_gateway.commands import EXIT_ERROR
from metering_gateway.domain.csv_mapping import MappingError
from metering_gateway.domain.csv_rows import RowError
from metering_gateway.domain.measures import UnstorableMeasureError
from metering_gateway.gateway import AnotherSenderError
from metering_gateway.token_file import NoTokenError
from metering_gateway.tokens import CredentialsRefusedError

Command = Callable[[argparse.Namespace], Coroutine[Any, Any, int]]

_EXPECTED = (
    AnotherSenderError,
    CredentialsRefusedError,
    InvalidUrlError,
    MappingError,
    NoTokenError,
    OSError,
    RowError,
    UnstorableMeasureError,
    commands.UnreadableInputError,
    sqlite3.Error,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done, everything is on the platform. 1: one line says why not. 2: wrong usage. 3: something is left here."""
    options = _parser().parse_args(arguments)
    try:
        status = asyncio.run(_interruptible(options.run, options))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads what is printed has read enough; what is left of it goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except _EXPECTED as error:
        print(f"metering-gateway: {error}", file=sys.stderr)
        return EXIT_ERROR
    return status


async def _interruptible(command: Command, options: argparse.Namespace) -> int:
    """SIGINT and SIGTERM cancel the command, which still says what it did; what is stored stays stored."""
    task = asyncio.ensure_future(command(options))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="metering-gateway", description=__doc__)
    commands_ = parser.add_subparsers(required=True, metavar="COMMAND")
    common = _common()
    _replay(commands_.add_parser("replay", parents=[common], help="replay a CSV file through a column mapping"))
    _send(commands_.add_parser("send", parents=[common], help="send one measure by hand"))
    _simulate(commands_.add_parser("simulate", parents=[common], help="send the measures of many made-up meters"))
    flush = commands_.add_parser("flush", parents=[common], help="send what waits in the outbox")
    _sending(flush, wait=0)
    flush.set_defaults(run=commands.flush)
    _outbox(commands_.add_parser("outbox", parents=[common], help="show what waits here, and what was refused"))
    _token(commands_.add_parser("token", help="import or show this gateway's token"), common)
    device = commands_.add_parser("device", parents=[common], help="show a device as the platform knows it")
    device.add_argument("number", help="the provider's number for it")
    device.set_defaults(run=commands.device)
    return parser


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    state = os.environ.get("METERING_GATEWAY_STATE", ".metering-gateway")
    common.add_argument(
        "--state",
        type=Path,
        default=Path(state),
        metavar="DIRECTORY",
        help="outbox and token of this gateway (default: $METERING_GATEWAY_STATE or ./.metering-gateway)",
    )
    common.add_argument(
        "--url",
        default=os.environ.get("METERING_API_URL"),
        help="the platform's base URL without a path (default: $METERING_API_URL)",
    )
    common.add_argument("--json", action="store_true", help="one JSON document on stdout, no progress")
    return common


def _sending(parser: argparse.ArgumentParser, wait: int) -> None:
    parser.add_argument(
        "--wait",
        type=int,
        default=wait,
        choices=range(11),
        metavar="0..10",
        help=f"seconds to wait for the platform's result inside each answer (default {wait})",
    )
    parser.add_argument(
        "--results",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="read afterwards what became of each request's values (default: yes)",
    )
    parser.add_argument(
        "--first-wait",
        type=float,
        default=1.0,
        metavar="SECONDS",
        help="wait after a first failure; doubles up to 5 minutes, with jitter (default 1)",
    )
    parser.add_argument(
        "--give-up-after",
        type=float,
        metavar="SECONDS",
        help="stop sending after that time; what is left stays in the outbox (default: never)",
    )


def _replay(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path)
    parser.add_argument("--mapping", type=Path, required=True, help="which column is which sensor (JSON)")
    parser.add_argument("--speed", type=_speed, default=1.0, metavar="N|max", help="N times real time, or max")
    parser.add_argument(
        "--end",
        type=_end,
        default="as-is",
        metavar="yesterday|today|YYYY-MM-DD|as-is",
        help="move the file by whole days so that it ends on that day (default: as-is)",
    )
    _sending(parser, wait=0)
    parser.set_defaults(run=commands.replay)


def _simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", type=_positive_int, default=10, metavar="N", help="how many (default 10)")
    parser.add_argument(
        "--prefix", default="sim-", help="numbered PREFIX1, PREFIX2, … (default sim-); registered before"
    )
    parser.add_argument(
        "--rate", type=_positive, default=10.0, metavar="R", help="measures per second in all (default 10)"
    )
    parser.add_argument("--seconds", type=_positive, default=60.0, help="for how long (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the made-up values (default 1)")
    _sending(parser, wait=0)
    parser.set_defaults(run=commands.simulate)


def _send(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", required=True, metavar="NUMBER")
    parser.add_argument(
        "--sensor", required=True, action="append", metavar="NAME", help="may be repeated, with --value"
    )
    parser.add_argument("--value", required=True, action="append", type=_value, metavar="X", help="a number, or text")
    parser.add_argument(
        "--timestamp", type=int, metavar="T", help="Unix seconds (default: now, by the platform's clock)"
    )
    parser.add_argument("--store-only", action="store_true", help="store it in the outbox; another process sends it")
    _sending(parser, wait=5)
    parser.set_defaults(run=commands.send)


def _outbox(parser: argparse.ArgumentParser) -> None:
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--requeue-refused", action="store_true", help="stand what was refused in line again")
    change.add_argument("--forget-refused", action="store_true", help="give up what was refused")
    change.add_argument("--retry-unknown", action="store_true", help="try unknown devices at the next sending, now")
    parser.set_defaults(run=commands.outbox)


def _token(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(required=True, metavar="import|show")
    take = what.add_parser("import", parents=[common], help='take the issued {"refreshToken": …}')
    take.add_argument("file", nargs="?", default="-", help="a file, or - for standard input (default)")
    take.set_defaults(run=commands.token_import)
    show = what.add_parser("show", parents=[common], help="whose token it is and until when, never the token")
    show.set_defaults(run=commands.token_show)


def _speed(text: str) -> float | None:
    return None if text == "max" else _positive(text)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError("a number above 0")
    return number


def _positive_int(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("a whole number above 0")
    return number


def _end(text: str) -> str:
    if text not in {"yesterday", "today", "as-is"}:
        date.fromisoformat(text)
    return text


def _value(text: str) -> float | str:
    """A whole number stays one; what is no number travels as text, for the platform to validate."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
