"""What a command of metering-admin works with: one connection, who runs it, and the settings it asks for."""

import argparse
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metering_auth.adapters.postgres.rows import Connection
from metering_auth.domain.actor import Actor, operator_name
from metering_auth.settings import DatabaseSettings, StoreSettings
from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_common.service.retry import RetryPolicy
from metering_common.service.settings import load_settings

LARGEST_ID = 2**31 - 1
STATEMENT_SECONDS = 600.0  # an import of 100,000 devices on a busy machine


class CommandError(Exception):
    """The command cannot be done; the message says what to change."""


@dataclass(frozen=True)
class Answer:
    """What a command prints: `value` with --json, else `text`, or a table of `rows` or of `value` without one."""

    value: Any
    text: str | None = None
    rows: list[dict[str, Any]] | None = None
    failed: bool = False


@dataclass(frozen=True)
class Session:
    """One run of one command."""

    pool: TimedPool
    connection: Connection
    operator: str | None
    """As `--as` names them."""
    quiet: bool
    """No progress bars: the output is read by a program."""

    @property
    def actor(self) -> Actor:
        """Who acts; commands that only read need nobody. Raises `UnknownOperatorError`."""
        name = operator_name(self.operator, os.environ.get("METERING_OPERATOR"), os.getlogin)
        return Actor(name, socket.gethostname())

    def store_settings(self) -> StoreSettings:
        """For commands about tokens and keys."""
        return load_settings(StoreSettings)


Command = Callable[[Session, argparse.Namespace], Awaitable[Answer]]
Parsers = Any  # argparse has no public name for what add_subparsers returns


@asynccontextmanager
async def session(*, operator: str | None, quiet: bool) -> AsyncIterator[Session]:
    """Connected as the environment says."""
    settings = load_settings(DatabaseSettings)
    async with (
        postgres.pool(
            settings.database_url,
            application_name="metering-admin",
            max_size=2,
            statement_timeout_seconds=STATEMENT_SECONDS,
            lock_timeout_seconds=STATEMENT_SECONDS,
            retry=RetryPolicy(5),
        ) as pool,
        pool.acquire() as connection,
    ):
        yield Session(pool, connection, operator, quiet)


def registry_id(text: str) -> int:
    """An id as PostgreSQL keeps it, given as an argument."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:11]) <= LARGEST_ID):
        raise argparse.ArgumentTypeError(f"{text!r} is no id: ids are whole numbers from 1 on, as `list` shows them")
    return int(text)


def count(text: str) -> int:
    """How many, given as an argument."""
    if not (text.isascii() and text.isdecimal() and 0 < int(text[:11]) <= LARGEST_ID):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def instant(text: str) -> datetime:
    """A point in time, given as an argument."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        given = None
    if given is None or given.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time with its zone, such as 2026-03-11T15:00:00-03:00")
    return given


def add_command(parsers: Parsers, name: str, run: Command, sentence: str) -> argparse.ArgumentParser:
    """One command with its sentence of help; every command takes --json and --as."""
    parser: argparse.ArgumentParser = parsers.add_parser(name, help=sentence, description=sentence)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--as", dest="operator", metavar="NAME", help="who you are; else METERING_OPERATOR says it")
    parser.set_defaults(run=run)
    return parser
