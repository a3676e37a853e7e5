"""metering-admin: operations' hand on registry, tokens and keys. Reads the environment of .state/local.env."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from metering_auth.adapters.postgres.key_lifecycle import UnknownKeyError
from metering_auth.adapters.postgres.signing_keys import NoSigningKeyError
from metering_auth.commands import key_commands, meter_commands, owner_commands, registry_audit_commands
from metering_auth.commands.session import Answer, CommandError, session
from metering_auth.domain.actor import UnknownOperatorError
from metering_auth.domain.texts import InvalidEntryError
from metering_common.postgres.pool import UNAVAILABLE
from metering_common.service import logs
from metering_common.service.output import Printing
from metering_common.service.sealed import SealedError

FAILED = 1  # exit status
WIDE = 10_000  # characters of a line that no person looks at


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 not done, 2 wrong arguments or settings."""
    given = _parser().parse_args(arguments)
    logs.configure("metering-admin", "critical")
    try:
        answer = asyncio.run(_run(given))
    except (InvalidEntryError, CommandError, UnknownOperatorError, NoSigningKeyError, UnknownKeyError) as error:
        return _fail(str(error))
    except SealedError as error:
        return _fail(f"{error}; is AUTH_KEY_ENCRYPTION_KEY the one that auth runs with?")
    except KeyboardInterrupt:
        return _fail("interrupted")
    except UNAVAILABLE as error:
        return _fail(f"the database of auth cannot be used: {type(error).__name__}: {error}")
    with Printing():
        _print(answer, as_json=given.json)
    return FAILED if answer.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="metering-admin", description=__doc__)
    groups = parser.add_subparsers(required=True)
    for commands in (owner_commands, meter_commands, key_commands, registry_audit_commands):
        commands.register(groups)
    return parser


async def _run(given: argparse.Namespace) -> Answer:
    async with session(operator=given.operator, quiet=given.json or not sys.stderr.isatty()) as opened:
        answer: Answer = await given.run(opened, given)
        return answer


def _print(answer: Answer, *, as_json: bool) -> None:
    if not as_json and answer.text is not None:
        print(answer.text)
    elif not as_json and isinstance(answer.value, list):
        _print_table(answer.value if answer.rows is None else answer.rows)
    else:
        print(orjson.dumps(answer.value, default=str).decode())


def _print_table(rows: list[dict[str, Any]]) -> None:
    """Nothing is cut: on a terminal long cells take several lines, elsewhere a row is one line."""
    table = Table(box=None)
    for name in rows[0] if rows else ("nothing",):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    Console(width=None if sys.stdout.isatty() else WIDE, markup=False, highlight=False).print(table)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return "" if value is None or value in ([], ()) else str(value)


def _fail(reason: str) -> int:
    print(f"metering-admin: {reason}", file=sys.stderr)
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
