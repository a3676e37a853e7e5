"""The demo's heating controllers: two of an emulated portal, polled, stored, and seen as a heating curve.

The portal is tests/emulators/ecl_portal, a process of its own for as long as the demo runs: the connector is
unverified against the live service.
"""

import asyncio
import csv
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg

from metering_common.postgres.queries import load_queries
from metering_local.checkout import DATA, PROGRAMS, ROOT
from metering_local.demo_site import ToolError, run_tool

PORTALS = ("dk", "com")
COMPARED = timedelta(days=9)
"""A first poll goes back ten days, which is what a controller's log holds; a whole day less is compared."""
STORED_SECONDS = 120
POLL_SECONDS = 0.2
QUERIES = load_queries("metering_local", "demo.sql")


@dataclass(frozen=True)
class CurvePoint:
    """Hours at one outdoor temperature, rounded to whole degrees: mean flow temperature in °C, and how many samples."""

    outdoor: int
    flow: float
    samples: int


@dataclass(frozen=True)
class Heat:
    """Moments of the last days that the portal has of both controllers, and that are stored; the curve they draw."""

    serials: list[str]
    portal_samples: int
    stored_samples: int
    curve: list[CurvePoint]


async def poll_controllers(
    folder: Path, environment: dict[str, str], connection: "asyncpg.Connection[Any]", step: Callable[[str], None]
) -> Heat:
    """Let the running poller fetch two controllers from the emulated portal; they are disabled again afterwards."""
    step("starting an emulated ECL Portal")
    with _emulator() as emulator:
        serials = _new_controllers(emulator)
        provider = await asyncio.to_thread(_introduce, folder, environment, emulator, serials, step)
        try:
            step("waiting until their values are stored")
            since = datetime.now(UTC) - COMPARED
            portal_samples = sum(_samples(emulator, serial, since) for serial in serials.values())
            stored = await _until_stored(connection, provider, since, portal_samples)
        finally:
            for serial in serials.values():
                run_tool([str(PROGRAMS / "metering-ecl"), "controller", "disable", serial, "--json"], environment)
    curve = [CurvePoint(**dict(row)) for row in await connection.fetch(QUERIES["heating_curve"], provider)]
    return Heat(list(serials.values()), portal_samples, stored, curve)


@contextmanager
def _emulator() -> Iterator[Mapping[str, Any]]:
    """Its clock stands still, so that what the portal has is one number for the whole demo."""
    command = [sys.executable, "-m", "tests.emulators.ecl_portal", "--dk-count", "0", "--com-count", "0", "--rate", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)  # noqa: S603  ours, no shell
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise ToolError("the emulated portal did not start; its words stand above")
        yield json.loads(line)
    finally:
        process.terminate()
        process.communicate()


def _new_controllers(emulator: Mapping[str, Any]) -> dict[str, str]:
    """One on each portal, with serials that no demo before had."""
    first = int(time.time()) % 1_000_000_000 * 2
    for place, portal in enumerate(PORTALS):
        body = json.dumps({"portal": portal, "count": 1, "firstSerial": first + place}).encode()
        with urllib.request.urlopen(f"{emulator['controlUrl']}/controllers", data=body, timeout=10):  # noqa: S310  ours
            pass
    return {portal: str(first + place) for place, portal in enumerate(PORTALS)}


def _introduce(
    folder: Path,
    environment: dict[str, str],
    emulator: Mapping[str, Any],
    serials: Mapping[str, str],
    step: Callable[[str], None],
) -> int:
    """What operations do for new controllers: dictionary, provider, codes, discovery, devices, mapping."""

    def tool(name: str, *arguments: str) -> Any:
        return json.loads(run_tool([str(PROGRAMS / name), *arguments, "--json"], environment))

    step("registering two heating controllers")
    tool("metering-admin", "sensor", "import", str(DATA / "ecl_sensors.json"))
    provider = int(tool("metering-admin", "provider", "add", f"Demo heat {datetime.now(UTC):%Y-%m-%d %H:%M:%S}")["id"])
    folder = folder / f"provider-{provider}"
    folder.mkdir(parents=True, mode=0o700)
    _write_private_csv(folder / "controllers.csv", _accounts(emulator, serials))
    tool("metering-ecl", "controller", "add", "--file", str(folder / "controllers.csv"))
    step("discovering what they measure")
    mapping = str(folder / "mapping.json")
    found = tool("metering-ecl", "discover", *serials.values(), "--provider", str(provider), "--output", mapping)
    _write_private_csv(folder / "devices.csv", [_device(device) for device in found["devices"]])
    tool("metering-admin", "device", "import", "--provider", str(provider), str(folder / "devices.csv"))
    tool("metering-ecl", "mapping", "apply", mapping)
    step("polling them now, and not when they are due")
    tool("metering-ecl", "poll", "--once", *serials.values())
    return provider


def _accounts(emulator: Mapping[str, Any], serials: Mapping[str, str]) -> list[dict[str, str]]:
    codes = {"serverCode": emulator["serverCode"], "accessCode": emulator["accessCode"]}
    return [{"serial": serial, "portal": emulator[f"{portal}Url"], **codes} for portal, serial in serials.items()]


def _device(device: Mapping[str, Any]) -> dict[str, str]:
    return {"number": device["deviceNumber"], "sensors": "|".join(device["sensors"]), "zone": "Europe/Copenhagen"}


def _write_private_csv(file: Path, rows: list[dict[str, str]]) -> None:
    file.touch(mode=0o600)
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def _samples(emulator: Mapping[str, Any], serial: str, since: datetime) -> int:
    """How many moments the portal has of a controller's devices, by its own word."""
    with urllib.request.urlopen(f"{emulator['controlUrl']}/controllers/{serial}/truth", timeout=10) as answer:  # noqa: S310  ours
        devices = json.load(answer).values()
    return sum(stamp_ms >= since.timestamp() * 1000 for device in devices for stamp_ms, *_ in device["samples"])


async def _until_stored(connection: "asyncpg.Connection[Any]", provider: int, since: datetime, wanted: int) -> int:
    deadline = time.monotonic() + STORED_SECONDS
    while True:
        stored = int(await connection.fetchval(QUERIES["heat_samples"], provider, since))
        if stored >= wanted or time.monotonic() > deadline:
            return stored
        await asyncio.sleep(POLL_SECONDS)
