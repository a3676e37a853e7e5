"""What each command of the gateway's command line does."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from zoneinfo import ZoneInfo

from metering_gateway import display
from metering_gateway.domain.claims import UnreadableTokenError, read_claims
from metering_gateway.domain.pace import BackOff
from metering_gateway.gateway import OUTBOX_FILE, TOKEN_FILE, TOKEN_LOCK, AnotherSenderError, Gateway, GatewayConfig
from metering_gateway.outbox import Outbox
from metering_gateway.replay import Replay, open_csv
from metering_gateway.simulate import Simulation
from metering_gateway.token_file import NoTokenError, TokenFile, TokenPair, exclusive
from metering_gateway.tokens import CredentialsRefusedError

EXIT_DONE, EXIT_ERROR, EXIT_LEFT = 0, 1, 3


class UnreadableInputError(Exception):
    """What the user gave cannot be used; the message says what is expected."""


async def replay(options: argparse.Namespace) -> int:
    file = open_csv(options.file, options.mapping, options.end)
    end = _end_day(options.end, file.mapping.zone)
    async with _gateway(options) as gateway:
        with display.progress(file.path.name, file.row_count, lambda: gateway.sent_measures, quiet=options.json) as bar:
            work = Replay(file, gateway.outbox, bar)
            work.begin(end)
            then = "the same command goes on from here"
            whole = await _sent(options, lambda: _replay(gateway, work, options.speed), then)
        if whole:
            work.finished()
        return _report(gateway, options)


async def _replay(gateway: Gateway, work: Replay, speed: float | None) -> None:
    async with gateway.sending():
        await work.store(speed)


async def simulate(options: argparse.Namespace) -> int:
    async with _gateway(options) as gateway:
        end = gateway.clock.now_ms() // 1000
        simulation = Simulation(options.devices, options.rate, options.seconds, options.prefix, options.seed, end)
        await _sent(options, lambda: _simulate(gateway, simulation))
        return _report(gateway, options)


async def _simulate(gateway: Gateway, simulation: Simulation) -> None:
    async with gateway.sending():
        await simulation.store(gateway.outbox)


async def send(options: argparse.Namespace) -> int:
    if len(options.sensor) != len(options.value):
        raise UnreadableInputError("each --sensor needs its --value")
    async with _gateway(options) as gateway:
        values = dict(zip(options.sensor, options.value, strict=True))
        gateway.store(options.device, values, options.timestamp)
        if not options.store_only:
            await _sent(options, gateway.flush)
        code = _report(gateway, options)
        return EXIT_DONE if options.store_only else code


async def flush(options: argparse.Namespace) -> int:
    async with _gateway(options) as gateway:
        await _sent(options, gateway.flush)
        return _report(gateway, options)


async def outbox(options: argparse.Namespace) -> int:
    if not (options.state / OUTBOX_FILE).exists():
        raise UnreadableInputError(f"no outbox in {options.state}")
    box = Outbox(options.state / OUTBOX_FILE)
    try:
        if options.requeue_refused:
            display.say(f"{box.requeue_refused()} refused measures stand in line again")
        if options.forget_refused:
            display.say(f"{box.forget_refused()} refused measures given up")
        if options.retry_unknown:
            display.say(f"{box.try_unknown_now()} unknown devices are tried at the next sending")
        display.outbox(box, as_json=options.json)
    finally:
        box.close()
    return EXIT_DONE


async def token_import(options: argparse.Namespace) -> int:
    text = await asyncio.to_thread(_read_text, options.file)
    try:
        refresh = json.loads(text)["refreshToken"]
        claims = read_claims(refresh)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableInputError('expected is the issued {"refreshToken": "…"}') from error
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive(options.state / TOKEN_LOCK) as mine:
        if not mine:
            raise UnreadableInputError("another process refreshes the token right now: try again")
        TokenFile(options.state / TOKEN_FILE).write(TokenPair(refresh))
    display.token(claims, as_json=options.json)
    return EXIT_DONE


async def token_show(options: argparse.Namespace) -> int:
    try:
        claims = read_claims(TokenFile(options.state / TOKEN_FILE).read().refresh)
    except UnreadableTokenError as error:
        raise UnreadableInputError(str(error)) from error
    display.token(claims, as_json=options.json)
    return EXIT_DONE


async def device(options: argparse.Namespace) -> int:
    async with _gateway(options) as gateway:
        answer = await gateway.device(options.number)
    if answer.status != HTTPStatus.OK:
        raise UnreadableInputError(answer.summary())
    display.device(answer.document(), as_json=options.json)
    return EXIT_DONE


def _read_text(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")


@asynccontextmanager
async def _gateway(options: argparse.Namespace) -> AsyncIterator[Gateway]:
    if not options.url:
        raise UnreadableInputError("where is the platform? --url or METERING_API_URL, without a path")
    config = GatewayConfig(
        options.url,
        options.state,
        wait_seconds=getattr(options, "wait", 0),
        follow_results=getattr(options, "results", False),
        back_off=BackOff(first_seconds=getattr(options, "first_wait", 1.0)),
    )
    async with Gateway(config, notify=display.notice) as gateway:
        yield gateway


async def _sent(
    options: argparse.Namespace,
    work: Callable[[], Awaitable[object]],
    then: str = "what is left stays in the outbox, `metering-gateway flush` sends it",
) -> bool:
    """Whether it was done to its end. If not it is said why, and what to do `then`; what is stored stays stored."""
    try:
        async with asyncio.timeout(options.give_up_after):
            await work()
    except TimeoutError:
        display.say(f"given up after {options.give_up_after:g} s; {then}")
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


def _report(gateway: Gateway, options: argparse.Namespace) -> int:
    summary = gateway.summary()
    display.summary(summary, as_json=options.json)
    return EXIT_LEFT if summary.waiting or summary.run_refused else EXIT_DONE


def _end_day(end: str, zone: ZoneInfo) -> date | None:
    today = datetime.now(UTC).astimezone(zone).date()
    named = {"as-is": None, "today": today, "yesterday": today - timedelta(days=1)}
    return named[end] if end in named else date.fromisoformat(end)
