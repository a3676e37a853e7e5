"""metering-ecl poll --once and backfill: what the service does hourly, done now."""

import argparse
import asyncio
from typing import Any

from metering_ecl_poller.adapters.runner import OUR_OWN, Runner
from metering_ecl_poller.bootstrap import Line
from metering_ecl_poller.commands.session import Answer, CommandError, Parsers, Session, add_command, moment_argument
from metering_ecl_poller.domain.job import Job, LeaseLostError
from metering_ecl_poller.portal.errors import PortalError

AT_ONCE = 16
BUSY = "it is being polled just now"
BUSY_SECONDS = 60
"""How long a controller is waited for that the service polls just now."""


def register(groups: Parsers) -> None:
    poll = add_command(groups, "poll", _poll, "ask controllers now, whether they are due or not")
    poll.add_argument("serials", nargs="*", help="all enabled controllers when none is named")
    poll.add_argument("--once", action="store_true", required=True, help="the service polls for ever, this does once")
    backfill = add_command(groups, "backfill", _backfill, "send everything again that the portal has of a time")
    backfill.add_argument("serials", nargs="*", help="all enabled controllers when none is named")
    backfill.add_argument("--from", dest="from_ms", type=moment_argument, required=True, help="ISO 8601 with zone")
    backfill.add_argument("--to", dest="to_ms", type=moment_argument, required=True, help="ISO 8601 with zone")


async def _poll(session: Session, given: argparse.Namespace) -> Answer:
    line = await session.line()
    runner = Runner(line.store, line.polling, session.clock, session.metrics, (AT_ONCE, 1.0))

    async def once(serial: str) -> dict[str, Any]:
        job = await _claimed(line, serial)
        if job is None:
            return {"serial": serial, "state": "busy", "reason": BUSY}
        try:
            result = await runner.attempt(job)
        except LeaseLostError as error:
            return {"serial": serial, "state": "busy", "reason": str(error)}
        await line.store.finish(job, result)
        return {"serial": serial, "state": result.state, "reason": result.reason}

    serials = await session.serials(given.serials, asked=True)
    told = await _several(session, line, serials, (once, "polling"))
    return Answer(told, failed=not all(one["state"] == "polled" for one in told))


async def _backfill(session: Session, given: argparse.Namespace) -> Answer:
    if given.to_ms <= given.from_ms:
        raise CommandError("--to must be later than --from")
    line = await session.line()

    async def once(serial: str) -> dict[str, Any]:
        return await _backfill_one(line, serial, given.from_ms, given.to_ms)

    told = await _several(session, line, await session.serials(given.serials), (once, "filling back"))
    return Answer(told, failed=not all(one["reason"] is None for one in told))


async def _claimed(line: Line, serial: str) -> Job | None:
    """None when somebody else holds it for longer than one waits."""
    now = asyncio.get_running_loop().time
    give_up_at = now() + BUSY_SECONDS
    while (job := await line.store.claim_one(serial)) is None and now() < give_up_at:  # noqa: ASYNC110  a row has no event
        await asyncio.sleep(0.25)
    return job


async def _backfill_one(line: Line, serial: str, from_ms: int, to_ms: int) -> dict[str, Any]:
    job = await _claimed(line, serial)
    if job is None:
        return {"serial": serial, "samples": 0, "reason": BUSY}
    try:
        return {"serial": serial, "samples": await line.polling.backfill(job, from_ms, to_ms), "reason": None}
    except (PortalError, LeaseLostError, *OUR_OWN) as error:
        return {"serial": serial, "samples": 0, "reason": str(error)}
    finally:
        await line.store.release(job)


async def _renew(line: Line) -> None:
    while True:
        await asyncio.sleep(line.store.lease_seconds / 3)
        await line.store.renew()


async def _several(session: Session, line: Line, serials: list[str], work: tuple[Any, str]) -> list[dict[str, Any]]:
    """A bounded number at once, in the order of the serials; what is in flight stays ours for as long as it takes."""
    once, what = work
    places, renewing = asyncio.Semaphore(AT_ONCE), asyncio.create_task(_renew(line))
    with session.progress() as progress:
        bar = progress.add_task(what, total=len(serials))

        async def placed(serial: str) -> dict[str, Any]:
            async with places:
                told: dict[str, Any] = await once(serial)
            progress.advance(bar)
            return told

        try:
            return await asyncio.gather(*map(placed, serials))
        finally:
            renewing.cancel()
