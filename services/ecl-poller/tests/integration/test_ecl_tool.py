"""metering-ecl as a person uses it: as a process, on the emulator's time, against an emulator with twelve days."""

import base64
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from metering_common.service.settings import KafkaSettings
from metering_local.testing import FreshDatabase
from tests.emulators.ecl_portal import fleet
from tests.emulators.ecl_portal.connected import START_MS
from tests.emulators.ecl_portal.station import PROVIDER, Key, publish_registry, read_raw, stored

TOOL = Path(sys.executable).parent / "metering-ecl"
TOOL_PROCESS = Path(__file__).parents[1] / "tool_process.py"
ROOT = Path(__file__).parents[4]
NOW = datetime.fromtimestamp(START_MS / 1_000, UTC)


@dataclass(frozen=True)
class Tool:
    """The tool with its environment; `control_url` gives it the emulator's time, without one it has the real clock."""

    environment: dict[str, str]
    control_url: str | None = None

    @property
    def command(self) -> list[str]:
        on_virtual_time = [sys.executable, str(TOOL_PROCESS), str(self.control_url)]
        return [str(TOOL)] if self.control_url is None else on_virtual_time

    def on_time_of(self, portal: dict[str, Any]) -> "Tool":
        return Tool(self.environment, portal["controlUrl"])

    def run(self, *arguments: str, status: int = 0) -> Any:
        done = self.bare(*arguments, "--json")
        assert done.returncode == status, done.stderr + done.stdout
        return json.loads(done.stdout)

    def bare(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments], env=self.environment, capture_output=True, text=True, check=False, timeout=90
        )

    def unread(self, *arguments: str) -> tuple[int, str]:
        """Exit status and complaints when nobody reads what it prints."""
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as output:
            done = subprocess.run(
                [*self.command, *arguments],
                env=self.environment, stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=90,
            )  # fmt: skip
        return done.returncode, done.stderr


@pytest.fixture
def portal() -> Iterator[dict[str, Any]]:
    """The emulator as the demo starts it."""
    command = [sys.executable, "-m", "tests.emulators.ecl_portal", "--dk-count", "2", "--com-count", "0"]
    command += ["--rate", "0", "--start-ms", str(START_MS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


@pytest.fixture
def tool(ecl_database: FreshDatabase, kafka: KafkaSettings) -> Tool:
    return Tool(
        {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "KAFKA_ENVIRONMENT": "laptop",
            "ECL_DATABASE_URL": ecl_database.dsn_for("ecl_service").get_secret_value(),
            "ECL_KEY_ENCRYPTION_KEY": base64.urlsafe_b64encode(bytes(32)).decode(),
            "ECL_SERVER_CODE": fleet.SERVER_CODE,
            "ECL_ACCESS_CODE": fleet.ACCESS_CODE,
        }
    )


@dataclass
class ToolScene:
    """One person's afternoon with the tool."""

    tool: Tool
    portal: dict[str, Any]
    kafka: KafkaSettings
    folder: Path
    numbers: list[str] = field(default_factory=list)

    @property
    def serial(self) -> str:
        return str(self.portal["serials"]["dk"][0])

    @property
    def file(self) -> Path:
        """What `discover` wrote."""
        return self.folder / "mapping.json"

    @property
    def span(self) -> tuple[str, str, str, str]:
        now, hour = NOW, timedelta(hours=1)
        return ("--from", (now - hour).isoformat(), "--to", (now + hour).isoformat())

    @property
    def log(self) -> str:
        return str(json.loads(self.file.read_text())["controllers"][0]["devices"][LOG]["deviceNumber"])

    @property
    def log_id(self) -> int:
        return 100 + self.numbers.index(self.log)

    def edited(self, sensors: dict[int, str | None]) -> str:
        """The discovered file with other sensors for channels of the log, by their place."""
        document = json.loads(self.file.read_text())
        for place, sensor in sensors.items():
            document["controllers"][0]["devices"][LOG]["channels"][place]["sensor"] = sensor
        edited = self.folder / "edited.json"
        edited.write_text(json.dumps(document))
        return str(edited)

    async def stored(self) -> dict[Key, Any]:
        return stored(await read_raw(self.kafka))


LOG = 1  # its place among the emulated controller's devices
OUTDOOR, ROOM = "Temperatura exterior", "Temperatura ambiente"


async def test_from_a_serial_number_to_measures_and_a_mended_mapping(
    tool: Tool, portal: dict[str, Any], kafka: KafkaSettings, ecl_database: FreshDatabase, tmp_path: Path
) -> None:
    scene = ToolScene(tool.on_time_of(portal), portal, kafka, tmp_path)
    await publish_registry(kafka, [])
    add_controllers(scene)
    assert codes_at_rest(ecl_database) == 0
    await discover(scene)
    refuse_a_wrong_mapping(scene)
    await mend_a_wrong_mapping(scene)
    await take_a_channel_out(scene)
    look_at_all_of_it(scene)


def add_controllers(scene: ToolScene) -> None:
    tool = scene.tool
    serial, other = scene.portal["serials"]["dk"]
    url = scene.portal["dkUrl"]
    assert tool.run("controller", "add", serial, "--portal", url) == {"added": 1, "changed": 0}
    assert tool.run("controller", "add", serial, "--portal", url) == {"added": 0, "changed": 1}
    sheet = scene.folder / "controllers.csv"
    sheet.write_text(f"serial,portal,serverCode,accessCode\n{other},{url},{fleet.SERVER_CODE},Kode-6\n")
    tool.run("controller", "add", "--file", str(sheet))
    tested = {one["serial"]: one for one in tool.run("controller", "test", status=1)}
    assert (tested[serial]["opens"], tested[serial]["devices"]) == (True, 4)
    assert not tested[other]["opens"]
    assert "Kode-6" not in json.dumps(tested)
    due_soon(tool, serial)
    tool.run("controller", "disable", other)
    tool.run("controller", "disable", serial)
    tool.run("controller", "enable", serial)
    due_soon(tool, serial)
    assert [one["enabled"] for one in tool.run("controller", "list")] == [True, False]


def due_soon(tool: Tool, serial: str) -> None:
    """Within a minute, whatever the hour is."""
    (due,) = [one["nextDue"] for one in tool.run("controller", "list") if one["serial"] == serial]
    assert datetime.fromisoformat(due) - NOW < timedelta(minutes=1)


async def discover(scene: ToolScene) -> None:
    devices = scene.folder / "devices.csv"
    options = ("--provider", str(PROVIDER), "--output", str(scene.file))
    found = scene.tool.run("discover", *options, "--devices", str(devices))
    assert [device["unmapped"] for device in found["devices"]] == [[], [], [], []]
    assert not any(device["registered"] for device in found["devices"])
    with devices.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == [device["deviceNumber"] for device in found["devices"]]
    assert [row["sensors"].split("|") for row in rows] == [device["sensors"] for device in found["devices"]]
    assert [row["interval_seconds"] for row in rows] == ["900", "900", "3600", "3600"]
    assert {row["zone"] for row in rows} == {"Europe/Copenhagen"}
    again = scene.tool.bare("discover", *options)
    assert (again.returncode, "may have been corrected" in again.stderr) == (1, True)
    scene.numbers += [device["deviceNumber"] for device in found["devices"]]
    await publish_registry(scene.kafka, scene.numbers)


def refuse_a_wrong_mapping(scene: ToolScene) -> None:
    refused = scene.tool.bare("mapping", "apply", scene.edited({0: "Energía térmica acumulada"}))
    assert refused.returncode == 1
    assert "no conversion from °C to kWh" in refused.stderr


async def mend_a_wrong_mapping(scene: ToolScene) -> None:
    """The outdoor sensor is mapped as the room's, then mended; what is mapped again wins, however often.

    Samples that the portal had before there was a mapping are not lost.
    """
    tool = scene.tool
    assert tool.run("poll", "--once") == [{"serial": scene.serial, "state": "polled", "reason": None}]
    assert await scene.stored() == {}
    assert tool.run("mapping", "apply", scene.edited({0: ROOM, 1: None}))["version"] == 1
    due_soon(tool, scene.serial)
    assert tool.run("poll", "--once") == [{"serial": scene.serial, "state": "polled", "reason": None}]
    wrong = await scene.stored()
    assert tool.run("mapping", "apply", str(scene.file))["version"] == 2
    dry = tool.run("remap", *scene.span, "--dry-run")
    assert await scene.stored() == wrong
    done, again = tool.run("remap", *scene.span), tool.run("remap", *scene.span)
    assert done == dry == again
    assert done["noLongerWritten"] == []
    right = await scene.stored()
    moved = {key[2]: value for key, value in wrong.items() if key[:2] == (scene.log_id, ROOM)}
    assert len(moved) > 900
    assert moved == {key[2]: value for key, value in right.items() if key[:2] == (scene.log_id, OUTDOOR)}
    assert moved.keys() == {key[2] for key in right if key[:2] == (scene.log_id, ROOM)}


async def take_a_channel_out(scene: ToolScene) -> None:
    """Its keys are listed, and marked only when reported so."""
    tool, before = scene.tool, await scene.stored()
    assert tool.run("mapping", "apply", scene.edited({0: None}))["version"] == 3
    taken = {key for key in before if key[:2] == (scene.log_id, OUTDOOR)}
    (listed,) = tool.run("remap", *scene.span)["noLongerWritten"]
    assert (listed["deviceNumber"], listed["sensor"], listed["count"]) == (scene.log, OUTDOOR, len(taken))
    assert not listed["marked"]
    assert await scene.stored() == before
    (marked,) = tool.run("remap", *scene.span, "--mark-lost")["noLongerWritten"]
    assert marked["marked"]
    assert await scene.stored() == before | dict.fromkeys(taken, 192.0)


def look_at_all_of_it(scene: ToolScene) -> None:
    tool = scene.tool
    assert tool.unread("status", "--json") == (0, "")
    yesterday = (NOW - timedelta(hours=24)).isoformat()
    (back,) = tool.run("backfill", scene.serial, "--from", yesterday, *scene.span[2:])
    assert back["reason"] is None
    assert back["samples"] > 90 * 6
    status = tool.run("status")
    assert status["counts"] == {"polled": 1, "disabled": 1}
    assert status["gaps"] == []
    assert {device["problem"] for device in status["devices"]} == {None}
    assert status["controllers"][0]["clock"] == "right"
    assert "gaps: 0" in tool.bare("status").stdout


def codes_at_rest(database: FreshDatabase) -> int:
    """How many rows show a code to someone who reads the table."""
    condition = " OR ".join(
        f"position('{code}'::bytea in {column}) > 0"
        for code in (fleet.SERVER_CODE, fleet.ACCESS_CODE)
        for column in ("server_code", "access_code")
    )
    return int(database.sql(f"SELECT count(*) FROM controller WHERE {condition};"))


@pytest.mark.fast
def test_the_version_says_that_it_is_unverified() -> None:
    done = subprocess.run([str(TOOL), "--version"], capture_output=True, text=True, check=True)
    assert "unverified against the live service" in done.stdout


def test_wrong_settings_are_told_in_one_line_each(tool: Tool) -> None:
    done = Tool(tool.environment | {"ECL_KEY_ENCRYPTION_KEY": "short", "ECL_DIALECT_FILE": "/nowhere"}).bare("status")
    assert done.returncode == 2
    assert sorted(line.split(":")[0] for line in done.stderr.splitlines()) == [
        "ECL_DIALECT_FILE",
        "ECL_KEY_ENCRYPTION_KEY",
    ]
    assert "short" not in done.stderr


def test_a_controller_that_is_not_known_is_one_line(tool: Tool) -> None:
    done = tool.bare("controller", "disable", "42")
    assert (done.returncode, done.stderr) == (
        1,
        "metering-ecl: controller 42 is not known: metering-ecl controller add\n",
    )


def test_without_any_controller_a_command_says_what_to_do_first(tool: Tool) -> None:
    done = tool.bare("mapping", "show")
    assert (done.returncode, "metering-ecl controller add" in done.stderr) == (1, True)
    assert tool.run("status")["controllers"] == []


def test_plain_http_to_another_machine_is_refused(tool: Tool) -> None:
    done = tool.bare("controller", "add", "1", "--portal", "http://portal.example")
    assert done.returncode == 1
    assert "must be https" in done.stderr


def test_the_master_key_changes_without_entering_a_code_again(tool: Tool) -> None:
    old = tool.environment["ECL_KEY_ENCRYPTION_KEY"]
    new = base64.urlsafe_b64encode(bytes(range(32))).decode()
    tool.run("controller", "add", "123456792")
    both = Tool(tool.environment | {"ECL_KEY_ENCRYPTION_KEY": new, "ECL_KEY_ENCRYPTION_KEY_PREVIOUS": old})
    assert both.run("controller", "rewrap") == {"rewrapped": 1}
    after = Tool(tool.environment | {"ECL_KEY_ENCRYPTION_KEY": new})
    assert after.run("controller", "rewrap") == {"rewrapped": 0}
    assert tool.bare("controller", "rewrap").returncode == 1
