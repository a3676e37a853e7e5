"""What a command of metering-ecl works with: the poller's own book, and on demand the way to the portal and Kafka."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress

from metering_common.service.clock import Clock, SystemClock
from metering_common.service.settings import load_settings
from metering_ecl_poller.adapters.register import Register
from metering_ecl_poller.bootstrap import Line, keyring, open_line, open_pool
from metering_ecl_poller.metrics import PollerMetrics
from metering_ecl_poller.settings import ToolSettings

REGISTRY_WAIT_SECONDS = 20

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  argparse gives its type no public name


class CommandError(Exception):
    """The command cannot do what it was asked to; the text says why, in one sentence."""


@dataclass(frozen=True)
class Answer:
    """`value` for --json; for people `text`, or a table when `value` is a list. `failed` makes the exit status 1."""

    value: Any
    text: str | None = None
    failed: bool = False


Command = Callable[["Session", argparse.Namespace], Awaitable[Answer]]


class Session:
    """Open while one command runs. `quiet`: no progress bars."""

    def __init__(self, settings: ToolSettings, clock: Clock, stack: AsyncExitStack, *, quiet: bool) -> None:
        self.settings, self.clock, self.quiet = settings, clock, quiet
        self._stack = stack
        self._line: Line | None = None
        self._register: Register | None = None
        self.metrics = PollerMetrics(CollectorRegistry())

    async def register(self) -> Register:
        if self._register is None:
            database = await self._stack.enter_async_context(open_pool(self.settings))
            self._register = Register(database, keyring(self.settings))
        return self._register

    async def line(self) -> Line:
        """With a registry that has been read; raises `CommandError`."""
        if self._line is None:
            database = await self._stack.enter_async_context(open_pool(self.settings))
            measured = (CollectorRegistry(), self.metrics)
            opening = open_line(self.settings, self.settings.kafka, database, self.clock, measured)
            self._line = await self._stack.enter_async_context(opening)
            try:
                async with asyncio.timeout(REGISTRY_WAIT_SECONDS):
                    await self._line.replica.wait_ready()
            except TimeoutError:
                reason = self._line.replica.not_ready_reason()
                raise CommandError(f"the registry cannot be read: {reason}") from None
        return self._line

    async def sensor_units(self) -> dict[str, str]:
        """The dictionary: units by name and by alias."""
        sensors = (await self.line()).replica.registry.sensors.values()
        by_alias = {sensor.alias: sensor.unit for sensor in sensors if sensor.alias is not None}
        return by_alias | {sensor.name: sensor.unit for sensor in sensors}

    async def serials(self, named: Sequence[str], *, asked: bool = False) -> list[str]:
        """Those named, else all that are enabled (`asked`: and not denied). Raises `CommandError` on an unknown one and
        where nothing is left.
        """
        rows = await (await self.register()).controllers()
        known = {row["serial"] for row in rows}
        if unknown := [serial for serial in named if serial not in known]:
            raise CommandError(f"not known: {', '.join(unknown)}")
        if not rows:
            raise CommandError("no controller is known yet: metering-ecl controller add")
        wanted = [row["serial"] for row in rows if row["enabled"] and not (asked and row["state"] == "denied")]
        if not named and not wanted:
            raise CommandError("every controller is disabled or denied: metering-ecl status says which and why")
        return list(named) or wanted

    def progress(self) -> Progress:
        """On stderr, so that what a command prints stays what it answers."""
        return Progress(console=Console(stderr=True), disable=self.quiet, transient=True)


@asynccontextmanager
async def open_session(*, quiet: bool) -> AsyncIterator[Session]:
    settings = load_settings(ToolSettings)
    async with AsyncExitStack() as stack:
        yield Session(settings, SystemClock(), stack, quiet=quiet)


def add_command(commands: Parsers, name: str, run: Command, sentence: str) -> argparse.ArgumentParser:
    """Every command has --json."""
    parser = commands.add_parser(name, help=sentence, description=sentence)
    parser.add_argument("--json", action="store_true", help="answer as JSON")
    parser.set_defaults(run=run)
    return parser


def moment_argument(text: str) -> int:
    """Unix milliseconds of an ISO 8601 time with zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 time") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} needs a zone, such as 2026-03-11T12:00:00Z")
    return round(moment.timestamp() * 1_000)


def shown_time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
