"""What a command of metering-ecl works with: the poller's database, and on demand the way to the portal and Kafka."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import Progress

from metering_common.service.clock import Clock
from metering_common.service.settings import load_settings
from metering_ecl_poller.adapters.poll_context import PollContext
from metering_ecl_poller.adapters.postgres.controller_store import ControllerStore
from metering_ecl_poller.metrics import PollerMetrics
from metering_ecl_poller.settings import ConnectorSettings, EclToolSettings

REGISTRY_WAIT_SECONDS = 20

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  argparse gives its type no public name


class EclCommandError(Exception):
    """The command cannot do what it was asked to; the text is the reason, in one sentence."""


@dataclass(frozen=True)
class CommandResult:
    """`value` for --json; for people `text`, or a table when `value` is a list. `failed` makes the exit status 1."""

    value: Any
    text: str | None = None
    failed: bool = False


class Composition(Protocol):
    """Opens the concrete parts: bootstrap's part, given to the commands from outside."""

    def open_controllers(self, settings: ConnectorSettings) -> AbstractAsyncContextManager[ControllerStore]: ...
    def open_poll_context(
        self, settings: EclToolSettings, clock: Clock, metrics: PollerMetrics
    ) -> AbstractAsyncContextManager[PollContext]: ...


Command = Callable[["ToolSession", argparse.Namespace], Awaitable[CommandResult]]


class ToolSession:
    """Open while one command runs. `quiet`: no progress bars."""

    def __init__(
        self, composition: Composition, settings: EclToolSettings, clock: Clock, stack: AsyncExitStack, *, quiet: bool
    ) -> None:
        self.settings, self.clock, self.quiet = settings, clock, quiet
        self._composition, self._stack = composition, stack
        self._context: PollContext | None = None
        self._controllers: ControllerStore | None = None
        self.metrics = PollerMetrics(CollectorRegistry())

    async def controllers(self) -> ControllerStore:
        if self._controllers is None:
            opening = self._composition.open_controllers(self.settings)
            self._controllers = await self._stack.enter_async_context(opening)
        return self._controllers

    async def context(self) -> PollContext:
        """Returns the context once its registry has been read. Raises `EclCommandError`."""
        if self._context is None:
            opening = self._composition.open_poll_context(self.settings, self.clock, self.metrics)
            self._context = await self._stack.enter_async_context(opening)
            try:
                async with asyncio.timeout(REGISTRY_WAIT_SECONDS):
                    await self._context.replica.wait_ready()
            except TimeoutError:
                reason = self._context.replica.not_ready_reason()
                raise EclCommandError(f"the registry cannot be read: {reason}") from None
        return self._context

    async def sensor_units(self) -> dict[str, str]:
        """The dictionary: units by name and by alias."""
        sensors = (await self.context()).replica.registry.sensors.values()
        by_alias = {sensor.alias: sensor.unit for sensor in sensors if sensor.alias is not None}
        return by_alias | {sensor.name: sensor.unit for sensor in sensors}

    async def serials(self, named: Sequence[str], *, asked: bool = False) -> list[str]:
        """Returns those named, else all that are enabled (`asked`: and not denied).

        Raises `EclCommandError` on an unknown one and where nothing is left.
        """
        rows = await (await self.controllers()).controllers()
        known = {row["serial"] for row in rows}
        if unknown := [serial for serial in named if serial not in known]:
            raise EclCommandError(f"not known: {', '.join(unknown)}")
        if not rows:
            raise EclCommandError("no controller is known yet: metering-ecl controller add")
        wanted = [row["serial"] for row in rows if row["enabled"] and not (asked and row["state"] == "denied")]
        if not named and not wanted:
            raise EclCommandError("every controller is disabled or denied: metering-ecl status shows which and why")
        return list(named) or wanted

    def progress(self) -> Progress:
        """On stderr, so that what a command prints stays what it answers."""
        return Progress(console=Console(stderr=True), disable=self.quiet, transient=True)


@asynccontextmanager
async def open_session(composition: Composition, clock: Clock, *, quiet: bool) -> AsyncIterator[ToolSession]:
    settings = load_settings(EclToolSettings)
    async with AsyncExitStack() as stack:
        yield ToolSession(composition, settings, clock, stack, quiet=quiet)


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
