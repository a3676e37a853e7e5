"""The command line of the reference gateway: replay a file, send one measure, look at the outbox, import a token."""

# ruff: noqa: D417  the shared options are described by their classes

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, CycloptsError, Group, Parameter, validators

from metering_gateway.api import InvalidUrlError
from metering_gateway.cli import commands, conformance_command, daemon_commands
from metering_gateway.cli.commands import EXIT_ERROR, EXIT_USAGE
from metering_gateway.cli.options import (
    Connection,
    End,
    Options,
    Place,
    Positive,
    Sending,
    UnreadableInputError,
    Wait,
    Whole,
    Yes,
)
from metering_gateway.daemon.build import MissingExtraError
from metering_gateway.daemon.config import ConfigError
from metering_gateway.domain.csv_mapping import MappingError
from metering_gateway.domain.csv_rows import RowError
from metering_gateway.domain.measures import UnstorableMeasureError
from metering_gateway.gateway import AnotherSenderError
from metering_gateway.outbox_file import OutboxDamagedError
from metering_gateway.tables import TableError
from metering_gateway.token_file import NoTokenError
from metering_gateway.tokens import CredentialsRefusedError

_EXPECTED = (
    AnotherSenderError,
    ConfigError,
    CredentialsRefusedError,
    InvalidUrlError,
    MappingError,
    MissingExtraError,
    NoTokenError,
    OSError,
    OutboxDamagedError,
    RowError,
    TableError,
    UnstorableMeasureError,
    UnreadableInputError,
    sqlite3.Error,
)
app = App(name="metering-gateway", help=__doc__, version_flags=[])
token = App(name="token", help="Import or show this gateway's token.")
app.command(token)
_PLACE, _CONNECTION, _SENDING = Place(), Connection(), Sending()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status, one of those in `commands`."""
    try:
        status = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        sys.stderr.write(f"metering-gateway: {error}\n")
        return EXIT_USAGE
    except BrokenPipeError:  # whoever reads what is printed has read enough; what is left of it goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_ERROR
    except _EXPECTED as error:
        sys.stderr.write(f"metering-gateway: {error}\n")
        return EXIT_ERROR
    return int(status or 0)


@app.command
def replay(
    file: Path,
    *,
    mapping: Path,
    speed: Positive | Literal["max"] = 1.0,
    end: End = "as-is",
    check: Yes = False,
    place: Place = _PLACE,
    connection: Connection = _CONNECTION,
    sending: Sending = _SENDING,
) -> int:
    """Replay a CSV file through a column mapping.

    Args:
        mapping: which column is which sensor (JSON).
        speed: so many times real time, or max.
        end: move the file by whole days so that it ends on that day: yesterday, today, YYYY-MM-DD or as-is.
        check: show how the file and its first rows are understood, and store nothing.

    """
    if check:
        return commands.check(file, mapping, as_json=place.json)
    pace = None if speed == "max" else float(speed)
    return _run(commands.replay(Options(place, connection, sending), file, mapping, pace, end))


@app.command
def send(
    *,
    device: str,
    sensor: list[str],
    value: list[str],
    timestamp: int | None = None,
    store_only: Yes = False,
    wait: Wait = 5,
    results: bool = True,
    first_wait: Positive = 1.0,
    give_up_after: Positive | None = None,
    place: Place = _PLACE,
    connection: Connection = _CONNECTION,
) -> int:
    """Send one measure by hand.

    Args:
        device: the provider's number for it.
        sensor: name of a sensor; may be repeated, each with its --value.
        value: a number, or text.
        timestamp: Unix seconds; now, by the platform's clock, if left out.
        store_only: store it in the outbox; another process sends it.
        wait: seconds to wait for the platform's result inside the answer (0 to 10).
        results: read afterwards what became of the values.
        first_wait: wait after a first failure, in seconds; doubles up to 5 minutes, with jitter.
        give_up_after: stop sending after so many seconds; what is left stays in the outbox.

    """
    if len(sensor) != len(value):
        raise UnreadableInputError("each --sensor needs its --value")
    values = dict(zip(sensor, map(_value, value), strict=True))
    options = Options(place, connection, Sending(wait, results, first_wait, give_up_after))
    return _run(commands.send(options, device, values, timestamp, store_only=store_only))


@app.command
def simulate(
    *,
    devices: Whole = 10,
    prefix: str = "sim-",
    rate: Positive = 10.0,
    seconds: Positive = 60.0,
    seed: int = 1,
    place: Place = _PLACE,
    connection: Connection = _CONNECTION,
    sending: Sending = _SENDING,
) -> int:
    """Send the measures of many made-up meters.

    Args:
        devices: how many.
        prefix: they are numbered PREFIX1, PREFIX2, …, and registered before.
        rate: measures per second in all.
        seconds: for how long.
        seed: of the made-up values.

    """
    options = Options(place, connection, sending)
    return _run(commands.simulate(options, devices, rate, seconds, prefix=prefix, seed=seed))


@app.command
def flush(*, place: Place = _PLACE, connection: Connection = _CONNECTION, sending: Sending = _SENDING) -> int:
    """Send what waits in the outbox."""
    return _run(commands.flush(Options(place, connection, sending)))


@app.command
def device(number: str, *, place: Place = _PLACE, connection: Connection = _CONNECTION) -> int:
    """Show a device as the platform knows it.

    Args:
        number: the provider's number for it.

    """
    return _run(commands.device(Options(place, connection), number))


@app.command
def run(*, config: Annotated[Path, Parameter(env_var="METERING_GATEWAY_CONFIG")], dry_run: Yes = False) -> int:
    """Run the daemon: read the sources of a configuration and send what they give, until a signal ends it.

    Args:
        config: the configuration (TOML); on SIGHUP it is read again.
        dry_run: read the sources and print what they give; store and send nothing.

    """
    if dry_run:
        return _run(daemon_commands.dry_run(config))
    return asyncio.run(daemon_commands.run(config))


@app.command
def check_config(config: Path, /) -> int:
    """Check a configuration and say the line of each mistake.

    Args:
        config: the configuration (TOML).

    """
    return daemon_commands.check_config(config)


@app.command
def status(*, config: Annotated[Path, Parameter(env_var="METERING_GATEWAY_CONFIG")], json: Yes = False) -> int:
    """Show how the daemon of a configuration does.

    Args:
        config: the configuration (TOML) that the daemon runs with.
        json: one JSON document on standard output.

    """
    return daemon_commands.status(config, as_json=json)


@app.command
def conformance(
    *,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65_535))] = 0,
    folder: Path = Path("conformance"),
    seconds: Positive = 600.0,
    command: Annotated[str | None, Parameter(name="--run")] = None,
    clock_offset: int = 0,
    json: Yes = False,
) -> int:
    """Test a gateway of your own against a platform that fails on a script, and say what it did right and wrong.

    Args:
        port: the platform listens there, on 127.0.0.1; 0 chooses a free one.
        folder: token.json and readings.csv are written there for the client under test.
        seconds: when to give up waiting for the client.
        command: starts the client under test and ends with it; its environment names URL, token, readings and state.
        clock_offset: seconds that the platform's clock is ahead of this machine's.
        json: one JSON document on standard output.

    """
    run_kit = conformance_command.conformance
    return _run(run_kit(port, folder, seconds, command, clock_offset=clock_offset, as_json=json))


_CHANGE = Group("Change", validator=validators.LimitedChoice())
_Change = Annotated[bool, Parameter(group=_CHANGE, negative=())]


@app.command
def outbox(
    *,
    requeue_refused: _Change = False,
    forget_refused: _Change = False,
    retry_unknown: _Change = False,
    place: Place = _PLACE,
) -> int:
    """Show what waits here, and what was refused.

    Args:
        requeue_refused: put what was refused in line again.
        forget_refused: give up what was refused.
        retry_unknown: try unknown devices at the next sending, now.

    """
    return commands.outbox(place, requeue=requeue_refused, forget=forget_refused, retry_unknown=retry_unknown)


@token.command(name="import")
def token_import(file: str = "-", *, place: Place = _PLACE) -> int:
    """Take the issued {"refreshToken": …}.

    Args:
        file: a file, or - for standard input.

    """
    return commands.token_import(place, file)


@token.command(name="show")
def token_show(*, place: Place = _PLACE) -> int:
    """Show whose token it is and until when, never the token."""
    return commands.token_show(place)


def _run(command: Coroutine[Any, Any, int]) -> int:
    return asyncio.run(_interruptible(command))


async def _interruptible(command: Coroutine[Any, Any, int]) -> int:
    """SIGINT and SIGTERM cancel the command, which still says what it did; what is stored stays stored."""
    task = asyncio.ensure_future(command)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


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
