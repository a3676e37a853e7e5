"""The demo's client against containers: two days of a house through the public API, and what became of every value."""

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import asyncpg

from metering_local.demo_account import QUERIES, faults, read_account
from metering_local.demo_house import BAD_MEASURES, FILE, House, read_house, today_at_the_house
from metering_local.demo_site import Site, register_site, store_bad_measures

STORED_SECONDS = 240


async def faults_of_the_demo(folder: Path, tools: dict[str, str]) -> list[str]:
    """Send the house's days with the settings that the tools have; every sentence of the account that does not hold."""
    site = await asyncio.to_thread(register_site, folder, tools, lambda _sentence: None)
    await asyncio.to_thread(store_bad_measures, site, lambda _sentence: None)
    house = read_house(today_at_the_house())
    summary = await asyncio.to_thread(_replay, site)
    connection = await asyncpg.connect(site.environment["METERING_DATABASE_URL"])
    try:
        await _until_stored(connection, site, house)
        return faults(await read_account(connection, site, summary), house)
    finally:
        await connection.close()


def _replay(site: Site) -> dict[str, Any]:
    options = ["--mapping", str(site.folder / "mapping.json"), "--speed", "max", "--end", "yesterday"]
    command = site.gateway("replay", str(FILE), *options, "--give-up-after", str(STORED_SECONDS))
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


async def _until_stored(connection: "asyncpg.Connection[Any]", site: Site, house: House) -> None:
    """Or until STORED_SECONDS are over: the account then says what is missing."""
    for _ in range(STORED_SECONDS):
        row = await connection.fetchrow(QUERIES["progress"], site.provider)
        if row and row["values"] >= house.values + len(BAD_MEASURES) and row["devices"] == len(site.devices):
            return
        await asyncio.sleep(1)
