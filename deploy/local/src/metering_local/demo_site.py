"""Registers the demo's provider, gateway and meters with the platform's own tools, before the first measure."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from zoneinfo import ZoneInfo

from metering_local.checkout import PROGRAMS
from metering_local.demo_house import (
    BAD_MEASURES,
    DIP,
    INTERVAL_SECONDS,
    METERS,
    ZONE,
    disturbed,
    mapping,
    today_at_the_house,
)

KNOWN_SECONDS = 60


class ToolError(Exception):
    """A tool of the platform failed; the message is its own line."""


@dataclass(frozen=True)
class Site:
    """A provider with a gateway (its outbox and token lie in `folder`) and its meters' ids by their numbers."""

    provider: int
    name: str
    devices: dict[str, int]
    folder: Path
    environment: dict[str, str]

    def gateway(self, *arguments: str) -> list[str]:
        """A command line of this site's gateway."""
        return [str(PROGRAMS / "metering-gateway"), *arguments, "--state", str(self.folder), "--json"]


def register_site(folder: Path, environment: dict[str, str], step: Callable[[str], None]) -> Site:
    """A provider of its own with everything that its gateway needs."""

    def admin(*arguments: str) -> dict[str, Any]:
        command = [str(PROGRAMS / "metering-admin"), *arguments, "--json"]
        return dict(json.loads(run_tool(command, environment)))

    name = f"Demo {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    step("registering a provider and its gateway")
    provider = admin("provider", "add", name)["id"]
    gateway = admin("gateway", "add", "--provider", str(provider), "house")["id"]
    folder = folder / f"provider-{provider}"
    folder.mkdir(parents=True, mode=0o700)
    devices: dict[str, int] = {}
    for number, columns in METERS.items():
        step(f"registering the meter {number}")
        sensors = folder / f"{number}.json"
        sensors.write_text(json.dumps([column.sensor for column in columns]))
        terms = ["--sensors", str(sensors), "--zone", ZONE, "--interval-seconds", str(INTERVAL_SECONDS)]
        devices[number] = admin("device", "add", "--provider", str(provider), "--number", number, *terms)["id"]
    step("issuing the gateway's token")
    token = admin("gateway", "issue-token", str(gateway))
    site = Site(provider, name, devices, folder, environment)
    run_tool(site.gateway("token", "import"), environment, json.dumps(token))
    step("waiting until the platform knows the meters")
    _await_known(site)
    (folder / "mapping.json").write_text(mapping())
    (folder / "house.csv").write_text(disturbed())
    return site


def _await_known(site: Site) -> None:
    """A meter is published after it is registered: a gateway that sends sooner would keep its measures for an hour."""
    give_up_at = monotonic() + KNOWN_SECONDS
    for number in site.devices:
        while True:
            try:
                run_tool(site.gateway("device", number), site.environment)
                break
            except ToolError:
                if monotonic() > give_up_at:
                    raise
                sleep(0.5)


def store_bad_measures(site: Site, step: Callable[[str], None]) -> None:
    """Put what must be refused into the gateway's outbox; it goes out with the rest."""
    for bad in BAD_MEASURES:
        step(f"adding {bad.why}")
        at = int((datetime.now(UTC) + bad.offset).timestamp())
        value = ["--sensor", bad.sensor, "--value", bad.value, "--timestamp", str(at)]
        command = site.gateway("send", "--store-only", "--device", "house", *value)
        run_tool(command, site.environment, accepted=(0, LEFT_IN_OUTBOX))


def store_dip(site: Site) -> None:
    """Put the register's dip into the gateway's outbox: a good value to every rule, and no consumption."""
    midnight = datetime.combine(today_at_the_house(), time(), ZoneInfo(ZONE))
    at = str(int((midnight - DIP.before_midnight).timestamp()))
    value = ["--sensor", DIP.sensor, "--value", "0", "--timestamp", at]
    command = site.gateway("send", "--store-only", "--device", DIP.number, *value)
    run_tool(command, site.environment, accepted=(0, LEFT_IN_OUTBOX))


LEFT_IN_OUTBOX = 3
"""metering-gateway's exit status when something waits: here it is meant to."""

REFUSED_BY_RULE = 4
"""Its exit status when all was sent and the platform refused some of it: the bad measures of the demo are."""


def run_tool(command: list[str], environment: dict[str, str], text: str = "", accepted: tuple[int, ...] = (0,)) -> str:
    """What the tool printed; ToolError with its last line if it failed."""
    done = subprocess.run(command, env=environment, input=text, capture_output=True, text=True, check=False)  # noqa: S603  ours
    if done.returncode not in accepted:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ToolError(f"{Path(command[0]).name} {command[1]}: {lines[-1]}")
    return done.stdout
