"""kill -9 of the client's process at random moments of fixed seeds, on a line that fails too: zero loss, by counting.

What it does: replays the household file while the process is killed again and again and the platform answers badly.
How it proves: every value of the file must have arrived at least once and nothing else, the outbox's account closes,
and the platform never had to refuse a refresh token.
"""

import asyncio
import json
import os
import random
import sys
from datetime import date
from pathlib import Path

import pytest

from metering_gateway.conformance import Platform, random_faults, running
from metering_gateway.replay import open_csv

DATA = Path(__file__).parents[4] / "data"
CSV, MAPPING = DATA / "household_power_2007-02-01_02.csv", DATA / "household_mapping.json"
KILLS = 5
REPLAY = ["replay", str(CSV), "--mapping", str(MAPPING), "--end", "2026-03-10", "--json", "--first-wait", "0.02"]


def expected() -> dict[tuple[str, int, str], object]:
    rows = open_csv(CSV, MAPPING).rows((date(2026, 3, 10) - date(2007, 2, 2)).days)
    measures = [m for row in rows for m in row.measures]
    return {(m.device_number, m.timestamp, name): value for m in measures for name, value in m.values.items()}


async def start(platform: Platform, state: Path, *arguments: str) -> asyncio.subprocess.Process:
    environment = os.environ | {"METERING_API_URL": platform.url, "METERING_GATEWAY_STATE": str(state)}
    command = [sys.executable, "-m", "metering_gateway", *arguments]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)


async def run(platform: Platform, state: Path, *arguments: str, given: str = "") -> str:
    process = await start(platform, state, *arguments)
    out, err = await asyncio.wait_for(process.communicate(given.encode()), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


async def killed_after(calls: int, seconds: float, platform: Platform, state: Path, speed: str) -> bool:
    """Kills it `seconds` after its `calls`-th request arrived; whether that came before the replay's end."""
    left, reached = calls, asyncio.Event()

    def count(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            reached.set()

    platform.on_call = count
    process = await start(platform, state, *REPLAY, "--speed", speed)
    ended, arrived = asyncio.create_task(process.communicate()), asyncio.create_task(reached.wait())
    await asyncio.wait([ended, arrived], return_when=asyncio.FIRST_COMPLETED, timeout=60)
    await asyncio.sleep(seconds)
    alive = process.returncode is None
    if alive:
        process.kill()
    arrived.cancel()
    await ended
    return alive


@pytest.mark.parametrize(("seed", "speed"), [(1, "max"), (2, "40000")])
async def test_nothing_is_lost_by_kills_at_any_moment(tmp_path: Path, seed: int, speed: str) -> None:
    rng = random.Random(seed)
    faults, refresh_faults = random_faults(seed, 0.15), random_faults(seed + 100, 0.3)
    platform = Platform(faults=faults, refresh_faults=refresh_faults, access_seconds=2)
    async with running(platform):
        token = json.dumps({"refreshToken": platform.issued_refresh_token()})
        await run(platform, tmp_path, "token", "import", given=token)
        for _ in range(KILLS):
            assert await killed_after(rng.randint(1, 12), rng.uniform(0, 0.02), platform, tmp_path, speed)
        summary = json.loads(await run(platform, tmp_path, *REPLAY, "--speed", "max"))
    wanted = expected()
    assert set(platform.arrivals) == set(wanted)
    assert all(set(values) == {wanted[key]} for key, values in platform.arrivals.items())
    assert summary["closes"]
    assert summary["total"]["sent_measures"] == summary["total"]["stored_measures"] == len({k[:2] for k in wanted})
    assert summary["total"]["accepted"] == summary["total"]["sent_values"] == len(wanted)
    assert (summary["waiting"], summary["refused"], platform.family.refused) == (0, 0, 0)
    assert platform.concurrent <= 2  # a killed client's last request may still be on its way
