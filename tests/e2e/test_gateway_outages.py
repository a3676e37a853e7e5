"""A gateway that was offline for a long time, behind a poor line, killed at random: all of it in SQL, once.

What does this test do? It stores days of minutes while the line is down, opens a line of 2 MB an hour and kills the
gateway's process again and again (kill -9), also while it still stores. A virtual second is a sixtieth of a second.
How does it prove it? By comparing the count, the sum and the ends of every sensor's rows in SQL with the file's.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metering_gateway import BackOff, Gateway, GatewayConfig, Notice
from metering_gateway.domain.measures import Measure
from metering_gateway.gateway import TOKEN_FILE
from metering_gateway.token_file import TokenFile, TokenPair
from tests.e2e.platform import TOOLS, Platform, eventually
from tests.emulators.slow_line import SlowLine, slow_line

DICTIONARY = Path(__file__).parents[2] / "data" / "sensor_dictionary.json"
VIRTUAL_SECONDS = 60  # in a second
LINE_BYTES_PER_SECOND = 2_000_000 / 3_600 * VIRTUAL_SECONDS
SENSORS = {
    "Corriente A": 0.01,
    "Corriente B": 0.02,
    "Corriente C": 0.03,
    "Voltaje A-N": 230,
    "Voltaje B-N": 231,
    "Voltaje C-N": 232,
    "Potencia activa total instantánea": 1.5,
    "Energía activa acumulada": 1000,
}


@dataclass(frozen=True)
class Site:
    """A registered gateway with one device, and its state directory."""

    platform: Platform
    device: int
    state: Path

    @classmethod
    def register(cls, platform: Platform, name: str, state: Path) -> "Site":
        provider = str(platform.admin("provider", "add", name)["id"])
        gateway = platform.admin("gateway", "add", "--provider", provider, name)["id"]
        device = platform.admin("device", "add", "--provider", provider, "--number", "29")["id"]
        state.mkdir(mode=0o700)
        issued = platform.admin("gateway", "issue-token", str(gateway))["refreshToken"]
        TokenFile(state / TOKEN_FILE).write(TokenPair(issued))
        return cls(platform, device, state)

    async def rows(self) -> dict[str, tuple[int, Any, int, int]]:
        """(count, sum, first, last) of each sensor's rows; last and first in Unix seconds."""
        async with self.platform.database() as connection:
            found = await connection.fetch(
                "SELECT sensor_name, count(*)::int, sum(value), extract(epoch FROM min(time))::bigint,"
                " extract(epoch FROM max(time))::bigint FROM measurement_named WHERE device_id = $1 GROUP BY 1",
                self.device,
            )
        return {row[0]: (row[1], pytest.approx(row[2]), row[3], row[4]) for row in found}


def value(sensor: str, minute: int) -> float:
    """Something that compresses as real values do: steady, with a changing end."""
    return round(SENSORS[sensor] + minute * 7919 % 1000 / 1000 + (minute / 60 if SENSORS[sensor] == 1000 else 0), 3)


def write_file(folder: Path, minutes: int, end: int) -> tuple[Path, Path]:
    times = [end - 60 * (minutes - minute) for minute in range(minutes)]
    lines = [
        ";".join([time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)), *(str(value(s, n)) for s in SENSORS)])
        for n, at in enumerate(times)
    ]
    file, mapping = folder / "minutes.csv", folder / "mapping.json"
    file.write_text("\n".join([";".join(["t", *SENSORS]), *lines]) + "\n")
    sensors = [{"sensor": name, "column": name} for name in SENSORS]
    mapping.write_text(json.dumps({"time": {"columns": ["t"]}, "devices": [{"number": "29", "sensors": sensors}]}))
    return file, mapping


@asynccontextmanager
async def replaying(site: Site, url: str, files: tuple[Path, Path]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The gateway's process, killed at the end of the block if it still runs."""
    command = [str(TOOLS / "metering-gateway"), "replay", str(files[0]), "--mapping", str(files[1]), "--speed", "max"]
    arguments = ["--state", str(site.state), "--url", url, "--first-wait", "0.1", "--no-results", "--json"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, *arguments, env=site.platform.environment, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def peak_memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def outbox_bytes(state: Path) -> int:
    return sum(path.stat().st_size for path in state.glob("outbox.sqlite*"))


async def run_through_kills(site: Site, line: SlowLine, files: tuple[Path, Path], kills: int, seed: int) -> str:
    """Returns the figures. The first half of the kills meets a gateway that is offline."""
    chance, memory, largest = random.Random(seed), 0, 0
    for number in range(kills):
        line.open = number >= kills // 2
        async with replaying(site, line.url, files) as process:
            await asyncio.sleep(chance.uniform(1.0, 4.0))
            assert process.returncode is None, "the replay ended before it could be killed"
            memory = max(memory, peak_memory_kb(process.pid))
            largest = max(largest, outbox_bytes(site.state))
    line.open = True
    async with replaying(site, line.url, files) as process:
        assert process.stdout is not None
        reading = asyncio.create_task(process.stdout.read())
        while not reading.done():
            await asyncio.wait([reading], timeout=1)
            if not reading.done():
                memory, largest = max(memory, peak_memory_kb(process.pid)), max(largest, outbox_bytes(site.state))
        summary = json.loads(reading.result())
        assert await process.wait() == 0, summary
    assert (summary["waiting"], summary["refused"], summary["closes"]) == (0, 0, True)
    figures = f"{line.carried_up} bytes up, {line.carried_down} down, {memory} KiB of memory at most"
    return f"{figures}, outbox {largest} bytes at most and {outbox_bytes(site.state)} at the end"


async def check_days_offline(platform: Platform, folder: Path, days: int, kills: int) -> None:
    minutes, end = days * 1440, int(time.time()) // 60 * 60 - 600
    site = Site.register(platform, f"offline for {days} days", folder / "state")
    files = write_file(folder, minutes, end)
    async with slow_line(platform.api_url, LINE_BYTES_PER_SECOND) as line:
        began = time.monotonic()
        figures = await run_through_kills(site, line, files, kills, seed=days)
    print(f"{days} days, {minutes * len(SENSORS)} values, {kills} kills: {time.monotonic() - began:.0f} s; {figures}")  # noqa: T201  figures
    wanted = {
        sensor: (minutes, sum(value(sensor, minute) for minute in range(minutes)), end - 60 * minutes, end - 60)
        for sensor in SENSORS
    }
    assert await eventually(site.rows, lambda rows: rows == wanted, seconds=180) == wanted


async def test_two_days_offline_and_back_through_kills(platform: Platform, tmp_path: Path) -> None:
    await check_days_offline(platform, tmp_path, days=2, kills=4)


@pytest.mark.chaos
async def test_thirty_days_offline_and_back_through_kills(platform: Platform, tmp_path: Path) -> None:
    await check_days_offline(platform, tmp_path, days=30, kills=12)


async def test_a_line_too_slow_for_a_hundred_measures_carries_them_all_the_same(
    platform: Platform, tmp_path: Path
) -> None:
    """500 B/s and 30 s for an answer, ten times as fast: a hundred measures of thirty values take longer than that."""
    site = Site.register(platform, "a slow line", tmp_path / "state")
    names = [sensor["name"] for sensor in json.loads(DICTIONARY.read_text())]
    chance, end, notices = random.Random(1), int(time.time()) - 3600, list[Notice]()
    async with slow_line(platform.api_url, 5_000) as line:
        config = GatewayConfig(line.url, site.state, answer_seconds=3, back_off=BackOff(0.1, 1))
        async with Gateway(config, notices.append) as gateway:
            gateway.outbox.store(
                Measure("29", end - 60 * n, {name: round(chance.uniform(1, 2), 4) for name in names})
                for n in range(200)
            )
            summary = await asyncio.wait_for(gateway.flush(), 240)
    assert "slow-line" in {notice.kind for notice in notices}
    assert (summary.waiting, summary.run.sent_measures) == (0, 200)
    stored = "SELECT count(DISTINCT ts)::int FROM measurement WHERE device_id = $1"
    assert await eventually(lambda: platform.scalar(stored, site.device), lambda count: count == 200) == 200
