"""`make demo`: two days of a real house through the whole data path, accounted for from outside.

Uses nothing but what users have: the command-line tools, HTTP through the load balancer, and read-only SQL.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import asyncpg
from rich.console import Console
from rich.progress import Progress

from metering_local import demo_report
from metering_local.cli import progress_display, run_command
from metering_local.demo_account import QUERIES, read_account
from metering_local.demo_heat import Heat, poll_controllers
from metering_local.demo_house import BAD_MEASURES, METERS, House, read_house, today_at_the_house
from metering_local.demo_report import Told
from metering_local.demo_site import (
    REFUSED_BY_RULE,
    Site,
    ToolError,
    register_site,
    store_bad_measures,
    store_dip,
)
from metering_local.local_env import exports
from metering_local.stack import Stack
from metering_local.up import bring_up

STORED_SECONDS = 180
POLL_SECONDS = 0.1


def main() -> int:
    """0 only if every value is accounted for and the energy agrees with the file."""
    return run_command(lambda: asyncio.run(demonstrate(Stack.from_environment())))


async def demonstrate(stack: Stack) -> int:
    """Bring the platform up, send the house, wait until it is stored, account for it, and tell."""
    house = read_house(today_at_the_house())
    with progress_display() as progress:
        bring_up(stack, progress)
        site = _register(stack, progress)
        connection = await asyncpg.connect(exports(stack)["METERING_DATABASE_URL"])
        try:
            summary = await _send_and_wait(site, house, connection, progress)
            account = await read_account(connection, site, summary)
            heat = await _poll(stack, connection, progress)
        finally:
            await connection.close()
    return 0 if demo_report.print_report(Console(), stack, Told(site, account, house, heat)) else 1


def _register(stack: Stack, progress: Progress) -> Site:
    environment = os.environ | exports(stack)
    bar = progress.add_task("", total=len(METERS) + len(BAD_MEASURES) + 2)

    def step(sentence: str) -> None:
        progress.update(bar, description=sentence, advance=1)

    site = register_site(stack.state / "demo", environment, step)
    store_bad_measures(site, step)
    store_dip(site)
    progress.remove_task(bar)
    return site


async def _poll(stack: Stack, connection: "asyncpg.Connection[Any]", progress: Progress) -> Heat:
    bar = progress.add_task("", total=5)
    heat = await poll_controllers(
        stack.state / "demo",
        os.environ | exports(stack),
        connection,
        lambda sentence: progress.update(bar, description=sentence, advance=1),
    )
    progress.remove_task(bar)
    return heat


async def _send_and_wait(
    site: Site, house: House, connection: "asyncpg.Connection[Any]", progress: Progress
) -> Mapping[str, Any]:
    """Let the gateway replay the file at full speed and watch the database; the gateway's own account."""
    values = house.values + len(BAD_MEASURES)
    bar = progress.add_task("storing the house's two days", total=values)
    mapping = str(site.folder / "mapping.json")
    options = ["--mapping", mapping, "--speed", "max", "--end", "yesterday", "--give-up-after", str(STORED_SECONDS)]
    command = site.gateway("replay", str(site.folder / "house.csv"), *options)
    gateway = subprocess.Popen(command, env=site.environment, stdout=subprocess.PIPE, stderr=sys.stderr, text=True)  # noqa: S603, ASYNC220  ours; it runs beside
    try:
        deadline = time.monotonic() + STORED_SECONDS
        while not await _is_stored(site, values, connection, progress, bar):
            if gateway.poll() not in (None, 0, REFUSED_BY_RULE):
                raise ToolError("metering-gateway could not send everything; its words stand above")
            if time.monotonic() > deadline:
                raise ToolError(
                    f"not everything was stored within {STORED_SECONDS} s; see `make status` and `make logs`"
                )
            await asyncio.sleep(POLL_SECONDS)
        return dict(json.loads(await asyncio.to_thread(lambda: gateway.communicate()[0])))
    finally:
        gateway.kill()


async def _is_stored(
    site: Site, values: int, connection: "asyncpg.Connection[Any]", progress: Progress, bar: Any
) -> bool:
    row = await connection.fetchrow(QUERIES["progress"], site.provider)
    if row is None:
        return False
    progress.update(bar, completed=row["values"])
    return bool(row["values"] >= values and row["devices"] == len(METERS) and not row["notes"])


if __name__ == "__main__":
    raise SystemExit(main())
