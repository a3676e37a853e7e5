"""What operations register on the secured platform: a gateway with a meter, and a controller of an emulated portal."""

import csv
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.jobs import ROOT
from tests.integration.secured_platform import SecuredPlatform


@dataclass
class Site:
    """A meter's number, and the tokens of its gateway as they are now."""

    number: str
    token: str = field(repr=False)
    refresh_token: str = field(repr=False)


def register(secured: SecuredPlatform) -> Site:
    """Through the tools, each with the environment of its service; the controller is polled once."""

    def admin(*arguments: str) -> Any:
        return secured.told("auth", "metering-admin", *arguments)

    for dictionary in ("sensor_dictionary.json", "ecl_sensors.json"):
        admin("sensor", "import", str(ROOT / "data" / dictionary))
    provider = str(admin("provider", "add", "Kuantum")["id"])
    gateway = str(admin("gateway", "add", "--provider", provider, "Edificio central")["id"])
    admin("device", "add", "--provider", provider, "--number", "29")
    tokens = refresh(secured, admin("gateway", "issue-token", gateway)["refreshToken"])
    with _portal() as portal:
        _poll(secured, portal, provider)
    return Site("29", *tokens)


def refresh(secured: SecuredPlatform, refresh_token: str) -> tuple[str, str]:
    """The next access and refresh token."""
    request = urllib.request.Request(
        f"{secured.url('auth')}/api/v1/auth/token/refresh",
        json.dumps({"refreshToken": refresh_token}).encode(),
        {"content-type": "application/json", "accept": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        tokens = json.load(answer)
    return str(tokens["accessToken"]), str(tokens["refreshToken"])


@contextmanager
def _portal() -> Iterator[Mapping[str, Any]]:
    """One controller with two hours of data, whose clock stands still."""
    where = ["--dk-count", "1", "--com-count", "0", "--rate", "0", "--history-hours", "2"]
    command = [sys.executable, "-m", "tests.emulators.ecl_portal", *where]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        assert line, "the emulated portal did not start"
        yield json.loads(line)
    finally:
        process.terminate()
        process.communicate()


def _poll(secured: SecuredPlatform, portal: Mapping[str, Any], provider: str) -> None:
    """The controller's codes, devices and mapping, and its values onto the raw topic."""

    def poller(*arguments: str) -> Any:
        return secured.told("ecl-poller", "metering-ecl", *arguments)

    serial = portal["serials"]["dk"][0]
    codes = {"serverCode": portal["serverCode"], "accessCode": portal["accessCode"]}
    controllers, mapping = secured.folder / "controllers.csv", secured.folder / "mapping.json"
    _write_csv(controllers, [{"serial": serial, "portal": portal["dkUrl"], **codes}])
    poller("controller", "add", "--file", str(controllers))
    found = poller("discover", serial, "--provider", provider, "--output", str(mapping))["devices"]
    rows = [{"number": one["deviceNumber"], "sensors": "|".join(one["sensors"]), "zone": "Etc/GMT-1"} for one in found]
    devices = secured.folder / "devices.csv"
    _write_csv(devices, rows)
    secured.told("auth", "metering-admin", "device", "import", "--provider", provider, str(devices))
    poller("mapping", "apply", str(mapping))
    poller("poll", "--once", serial)


def _write_csv(file: Path, rows: list[dict[str, str]]) -> None:
    file.touch(mode=0o600)
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, rows[0])
        writer.writeheader()
        writer.writerows(rows)
