"""metering-ecl poll --once and backfill: what the service does hourly, done now."""

import argparse
import asyncio
from typing import Any

from metering_ecl_poller.adapters.poll_context import PollContext
from metering_ecl_poller.adapters.runner import OUR_OWN, Runner
from metering_ecl_poller.commands.session import (
    CommandResult,
    EclCommandError,
    Parsers,
    ToolSession,
    add_command,
    moment_argument,
)
from metering_ecl_poller.domain.job import ControllerLeaseLostError, PollJob
from metering_ecl_poller.domain.portal.errors import PortalError

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


async def _poll(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    context = await session.context()
    runner = Runner(context.store, context.polling, session.clock, session.metrics, (AT_ONCE, 1.0))

    async def once(serial: str) -> dict[str, Any]:
        job = await _claimed(session, context, serial)
        if job is None:
            return {"serial": serial, "state": "busy", "reason": BUSY}
        try:
            result = await runner.attempt(job)
        except ControllerLeaseLostError as error:
            return {"serial": serial, "state": "busy", "reason": str(error)}
        await context.store.finish(job, result)
        return {"serial": serial, "state": result.state, "reason": result.reason}

    serials = await session.serials(given.serials, asked=True)
    results = await _several(session, context, serials, (once, "polling"))
    return CommandResult(results, failed=not all(one["state"] == "polled" for one in results))


async def _backfill(session: ToolSession, given: argparse.Namespace) -> CommandResult:
    if given.to_ms <= given.from_ms:
        raise EclCommandError("--to must be later than --from")
    context = await session.context()

    async def once(serial: str) -> dict[str, Any]:
        return await _backfill_one(session, context, serial, (given.from_ms, given.to_ms))

    results = await _several(session, context, await session.serials(given.serials), (once, "filling back"))
    return CommandResult(results, failed=not all(one["reason"] is None for one in results))


async def _claimed(session: ToolSession, context: PollContext, serial: str) -> PollJob | None:
    """None when somebody else holds it for longer than one waits."""
    now = asyncio.get_running_loop().time
    give_up_at = now() + BUSY_SECONDS
    while (job := await context.store.claim_one(serial, session.clock.now_ms())) is None and now() < give_up_at:  # noqa: ASYNC110  a row has no event
        await asyncio.sleep(0.25)
    return job


async def _backfill_one(
    session: ToolSession, context: PollContext, serial: str, span: tuple[int, int]
) -> dict[str, Any]:
    job = await _claimed(session, context, serial)
    if job is None:
        return {"serial": serial, "samples": 0, "reason": BUSY}
    try:
        return {"serial": serial, "samples": await context.polling.backfill(job, *span), "reason": None}
    except (PortalError, ControllerLeaseLostError, *OUR_OWN) as error:
        return {"serial": serial, "samples": 0, "reason": str(error)}
    finally:
        await context.store.release(job)


async def _renew(context: PollContext) -> None:
    while True:
        await asyncio.sleep(context.store.lease_seconds / 3)
        await context.store.renew()


async def _several(
    session: ToolSession, context: PollContext, serials: list[str], work: tuple[Any, str]
) -> list[dict[str, Any]]:
    """Runs a bounded number at once and renews their leases; results are in the order of the serials."""
    once, what = work
    places, renewing = asyncio.Semaphore(AT_ONCE), asyncio.create_task(_renew(context))
    with session.progress() as progress:
        bar = progress.add_task(what, total=len(serials))

        async def placed(serial: str) -> dict[str, Any]:
            async with places:
                results: dict[str, Any] = await once(serial)
            progress.advance(bar)
            return results

        try:
            return await asyncio.gather(*map(placed, serials))
        finally:
            renewing.cancel()
