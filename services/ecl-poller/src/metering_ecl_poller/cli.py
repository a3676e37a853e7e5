"""metering-ecl: operates the ECL connector. Reads the environment of .state/local.env."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from metering_common.service import logs
from metering_common.service.clock import Clock, SystemClock
from metering_common.service.output import Printing
from metering_common.service.sealed import SealedError
from metering_ecl_poller import bootstrap
from metering_ecl_poller.adapters.postgres.controller_store import UnknownControllerError
from metering_ecl_poller.commands import controllers, mappings, polls, remaps, status
from metering_ecl_poller.commands.session import CommandResult, EclCommandError, open_session
from metering_ecl_poller.domain.portal.dialect import DialectError
from metering_ecl_poller.version import UNVERIFIED, VERSION

FAILED = 1  # exit status
PIPED_WIDTH = 400  # characters of a line where the output is no terminal


def main(arguments: Sequence[str] | None = None, clock: Clock | None = None) -> int:
    """The exit status: 0 done, 1 not or not wholly done, 2 wrong arguments or settings."""
    given = _parser().parse_args(arguments)
    logs.configure("metering-ecl", "error")
    try:
        result = asyncio.run(_run(given, clock or SystemClock()))
    except (EclCommandError, UnknownControllerError, SealedError, DialectError) as error:
        return _fail(str(error))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return _fail(f"the poller's database cannot be used: {type(error).__name__}: {error}")
    except KafkaError as error:
        return _fail(f"Kafka cannot be used: {error}")
    with Printing():
        _print(result, as_json=given.json)
    return FAILED if result.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="metering-ecl", description=f"{__doc__} The connector is {UNVERIFIED}.")
    parser.add_argument("--version", action="version", version=VERSION)
    groups = parser.add_subparsers(required=True)
    for commands in (controllers, mappings, polls, remaps, status):
        commands.register(groups)
    return parser


async def _run(given: argparse.Namespace, clock: Clock) -> CommandResult:
    async with open_session(bootstrap, clock, quiet=given.json or not sys.stderr.isatty()) as session:
        result: CommandResult = await given.run(session, given)
        return result


def _print(result: CommandResult, *, as_json: bool) -> None:
    if as_json:
        print(orjson.dumps(result.value, default=str).decode())
    elif result.text is not None:
        print(result.text)
    else:
        _print_table(result.value)


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Nothing is cut off, and nothing of what comes from outside is taken for rich's own markup."""
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["nothing"]
    table = Table(*(Column(name, overflow="fold") for name in columns), box=None)
    for row in rows:
        table.add_row(*(Text("" if row.get(name) is None else str(row[name])) for name in columns))
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH).print(table)


def _fail(reason: str) -> int:
    print(f"metering-ecl: {reason}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
