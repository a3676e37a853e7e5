"""A real house on the platform: its provider, its four meters, and the reference gateway that replays its two days."""

import csv
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.platform import TOOLS, Platform

DATA = Path(__file__).parents[2] / "data"
FILE = DATA / "household_power_2007-02-01_02.csv"
MAPPING = DATA / "household_mapping.json"
ZONE = "Etc/GMT-1"

Rows = dict[tuple[str, str, int], tuple[float, int]]
"""(device number, sensor, Unix seconds) → (value, quality)."""


@dataclass(frozen=True)
class House:
    """A registered house."""

    platform: Platform
    provider: int
    devices: tuple[int, ...]

    def log_in(self, state: Path, name: str) -> None:
        """Give a new gateway of this house its first token, as an installer does."""
        gateway = self.platform.admin("gateway", "add", "--provider", str(self.provider), name)["id"]
        token = json.dumps(self.platform.admin("gateway", "issue-token", str(gateway)))
        command = [str(TOOLS / "metering-gateway"), "token", "import", "--state", str(state)]
        subprocess.run(command, env=self.platform.environment, input=token, text=True, check=True, capture_output=True)

    @contextmanager
    def replay(self, state: Path, speed: str = "max") -> Iterator[subprocess.Popen[str]]:
        """The gateway's process, replaying the house's two days so that they end yesterday; ended with the block."""
        command = [str(TOOLS / "metering-gateway"), "replay", str(FILE), "--mapping", str(MAPPING)]
        arguments = ["--state", str(state), "--end", "yesterday", "--speed", speed, "--json"]
        with subprocess.Popen(
            [*command, *arguments], env=self.platform.environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    async def rows(self) -> Rows:
        """What is stored of this house."""
        async with self.platform.database() as connection:
            rows = await connection.fetch(
                "SELECT device_number, sensor_name, extract(epoch FROM time)::bigint AS at, value, quality"
                " FROM measurement_named WHERE device_id = ANY($1)",
                list(self.devices),
            )
        stored = {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}
        assert len(stored) == len(rows), "a key stands twice"
        return stored

    async def records(self) -> int:
        return int(
            await self.platform.scalar(
                "SELECT count(*) FROM ingest_batch WHERE device_id = ANY($1)", list(self.devices)
            )
        )


def build_house(platform: Platform, name: str) -> House:
    provider = platform.admin("provider", "add", name)["id"]
    numbers = [device["number"] for device in json.loads(MAPPING.read_text())["devices"]]
    devices = [add_device(platform, provider, number) for number in numbers]
    return House(platform, provider, tuple(devices))


def add_device(platform: Platform, provider: int, number: str) -> int:
    added: dict[str, Any] = platform.admin(
        "device", "add", "--provider", str(provider), "--number", number, "--zone", ZONE
    )
    return int(added["id"])


def rows_in_the_file() -> int:
    """What the mapping makes of the file: five sensors of the main meter, one of each sub-meter, four start values."""
    with FILE.open(newline="") as file:
        lines = sum(1 for _ in csv.DictReader(file, delimiter=";"))
    return lines * (5 + 3) + 4
