"""What each command of the gateway's command line does."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, date, datetime, timedelta, tzinfo
from http import HTTPStatus
from itertools import islice
from pathlib import Path

from metering_gateway.cli import display
from metering_gateway.cli.options import End, Options, Place, UnreadableInputError
from metering_gateway.domain.claims import UnreadableTokenError, read_claims
from metering_gateway.domain.measures import SensorValues
from metering_gateway.gateway import OUTBOX_FILE, TOKEN_FILE, TOKEN_LOCK, AnotherSenderError, Gateway
from metering_gateway.outbox import open_outbox
from metering_gateway.replay import CsvFile, Replay, open_csv
from metering_gateway.simulate import Simulation
from metering_gateway.token_file import NoTokenError, TokenFile, TokenPair, exclusive
from metering_gateway.tokens import CredentialsRefusedError

EXIT_DONE = 0  # everything that was stored is on the platform, and nothing of it was refused
EXIT_ERROR = 1  # one line on stderr says why nothing was done
EXIT_USAGE = 2
EXIT_LEFT = 3  # something waits in the outbox; the same command goes on from there
EXIT_REFUSED = 4  # nothing waits, but the platform refused some of it
EXIT_DAMAGED = 5  # as 0, but a damaged outbox was found and set aside
_CHECKED_ROWS = 5


async def replay(options: Options, path: Path, mapping: Path, speed: float | None, end: End) -> int:
    file = open_csv(path, mapping, str(end))
    last_day = _end_day(end, file.mapping.zone)
    async with _gateway(options) as gateway:
        with display.progress(
            path.name, file.form.row_count, lambda: gateway.sent_measures, quiet=options.place.json
        ) as bar:
            work = Replay(file, gateway.outbox, bar)
            work.begin(last_day)
            then = "the same command goes on from here"
            whole = await _sent(options, lambda: _replay(gateway, work, speed), then)
        if whole:
            work.finished()
        return _report(gateway, options)


async def _replay(gateway: Gateway, work: Replay, speed: float | None) -> None:
    async with gateway.sending():
        await work.store(speed)


def check(path: Path, mapping: Path, *, as_json: bool) -> int:
    """Shows how a file is understood; stores nothing."""
    file = open_csv(path, mapping)
    display.table_check(file.description(), _first_measures(file), as_json=as_json)
    return EXIT_DONE


def _first_measures(file: CsvFile) -> list[dict[str, object]]:
    return [
        {"deviceNumber": measure.device_number, "timestamp": measure.timestamp, "values": dict(measure.values)}
        for row in islice(file.rows(), _CHECKED_ROWS)
        for measure in row.measures
    ]


async def simulate(options: Options, devices: int, rate: float, seconds: float, *, prefix: str, seed: int) -> int:
    async with _gateway(options) as gateway:
        simulation = Simulation(devices, rate, seconds, prefix, seed, gateway.clock.now_ms() // 1000)
        await _sent(options, lambda: _simulate(gateway, simulation))
        return _report(gateway, options)


async def _simulate(gateway: Gateway, simulation: Simulation) -> None:
    async with gateway.sending():
        await simulation.store(gateway.outbox)


async def send(
    options: Options, device_number: str, values: SensorValues, timestamp: int | None, *, store_only: bool
) -> int:
    async with _gateway(options) as gateway:
        gateway.store(device_number, values, timestamp)
        if not store_only:
            await _sent(options, gateway.flush)
        code = _report(gateway, options)
        return EXIT_DONE if store_only else code


async def flush(options: Options) -> int:
    async with _gateway(options) as gateway:
        await _sent(options, gateway.flush)
        return _report(gateway, options)


def outbox(place: Place, *, requeue: bool, forget: bool, retry_unknown: bool) -> int:
    if not (place.state / OUTBOX_FILE).exists():
        raise UnreadableInputError(f"no outbox in {place.state}")
    with closing(open_outbox(place.state / OUTBOX_FILE)) as box:
        if box.salvage:
            display.say(box.salvage.text())
        if requeue:
            display.say(f"{box.requeue_refused()} refused measures stand in line again")
        if forget:
            display.say(f"{box.forget_refused()} refused measures given up")
        if retry_unknown:
            display.say(f"{box.try_unknown_now()} unknown devices are tried at the next sending")
        display.outbox(box, as_json=place.json)
        return EXIT_DAMAGED if box.salvage else EXIT_DONE


def token_import(place: Place, file: str) -> int:
    try:
        refresh = json.loads(_read_text(file))["refreshToken"]
        claims = read_claims(refresh)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableInputError('expected is the issued {"refreshToken": "…"}') from error
    place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive(place.state / TOKEN_LOCK) as mine:
        if not mine:
            raise UnreadableInputError("another process refreshes the token right now: try again")
        TokenFile(place.state / TOKEN_FILE).write(TokenPair(refresh))
    display.token(claims, as_json=place.json)
    return EXIT_DONE


def token_show(place: Place) -> int:
    try:
        claims = read_claims(TokenFile(place.state / TOKEN_FILE).read().refresh)
    except UnreadableTokenError as error:
        raise UnreadableInputError(str(error)) from error
    display.token(claims, as_json=place.json)
    return EXIT_DONE


async def device(options: Options, number: str) -> int:
    async with _gateway(options) as gateway:
        answer = await gateway.device(number)
    if answer.status != HTTPStatus.OK:
        raise UnreadableInputError(answer.summary())
    display.device(answer.document(), as_json=options.place.json)
    return EXIT_DONE


def _read_text(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")


@asynccontextmanager
async def _gateway(options: Options) -> AsyncIterator[Gateway]:
    async with Gateway(options.config(), notify=display.notice) as gateway:
        yield gateway


async def _sent(
    options: Options,
    work: Callable[[], Awaitable[object]],
    then: str = "what is left stays in the outbox, `metering-gateway flush` sends it",
) -> bool:
    """Whether it was done to its end. If not it is said why, and what to do `then`; what is stored stays stored."""
    seconds = options.sending.give_up_after
    try:
        async with asyncio.timeout(seconds):
            await work()
    except TimeoutError:
        display.say(f"given up after {seconds:g} s; {then}")
        return False
    except (CredentialsRefusedError, NoTokenError) as error:
        display.say(f"{error}; {then}")
        return False
    except AnotherSenderError as error:
        display.say(f"stored; {error}, and will send it too")
        return False
    except asyncio.CancelledError:
        display.say(f"interrupted; {then}")
        return False
    return True


def _report(gateway: Gateway, options: Options) -> int:
    summary = gateway.summary()
    display.summary(summary, as_json=options.place.json)
    if summary.waiting:
        return EXIT_LEFT
    if summary.run_refused or summary.run.refused:
        return EXIT_REFUSED
    return EXIT_DAMAGED if gateway.salvage else EXIT_DONE


def _end_day(end: End, zone: tzinfo | None) -> date | None:
    today = datetime.now(UTC).astimezone(zone or UTC).date()
    if isinstance(end, date):
        return end
    return {"as-is": None, "today": today, "yesterday": today - timedelta(days=1)}[end]
