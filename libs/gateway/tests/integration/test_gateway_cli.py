"""The command line as an integrator meets it: each command, its JSON, its one clear line when something is wrong."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from metering_gateway.conformance import Fault, Platform, running


class Cli:
    """Runs the real command against one platform and one state directory."""

    def __init__(self, platform: Platform, state: Path) -> None:
        self.platform = platform
        self.state = state
        self.error = ""

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        environment = os.environ | {"METERING_API_URL": self.platform.url, "METERING_GATEWAY_STATE": str(self.state)}
        command = [sys.executable, "-m", "metering_gateway", *arguments]
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(*command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)

    async def __call__(self, *arguments: str, given: str = "", code: int = 0) -> str:
        process = await self.start(*arguments)
        out, error = await asyncio.wait_for(process.communicate(given.encode()), 60)
        self.error = error.decode()
        assert process.returncode == code, f"{process.returncode}: {self.error}"
        return out.decode()

    async def json(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(await self(*arguments, "--json", code=code))

    async def import_token(self) -> None:
        token = json.dumps({"refreshToken": self.platform.issued_refresh_token()})
        await self("token", "import", given=token)


@pytest.fixture
async def cli(tmp_path: Path) -> AsyncIterator[Cli]:
    async with running(Platform()) as platform:
        yield Cli(platform, tmp_path / "state")


SEND = ["send", "--device", "29", "--sensor", "Corriente A", "--value", "1.4", "--first-wait", "0.01"]


async def test_one_measure_by_hand(cli: Cli) -> None:
    await cli.import_token()
    summary = await cli.json(*SEND, "--sensor", "Voltaje A-N", "--value", "nan", "--timestamp", "1773241500")
    assert cli.platform.arrivals == {
        ("29", 1773241500, "Corriente A"): [1.4],
        ("29", 1773241500, "Voltaje A-N"): ["NaN"],
    }
    assert (summary["run"]["sent_measures"], summary["closes"]) == (1, True)
    assert cli.platform.prefers == ["wait=5"]


async def test_the_outbox_shows_what_waits_and_what_was_refused(cli: Cli) -> None:
    cli.platform.devices, cli.platform.poison = {"29"}, {("29", 7)}
    await cli.import_token()
    await cli.json(*SEND, "--timestamp", "7", code=4)
    await cli.json("send", "--device", "31", "--sensor", "x", "--value", "1", "--timestamp", "8", code=3)
    shown = await cli.json("outbox")
    assert shown["account"] | {"stored_values": 2} == {
        "stored_measures": 2,
        "stored_values": 2,
        "waiting": 1,
        "unknown": 1,
        "refused": 1,
    }
    assert [(row["device_number"], row["unknown"]) for row in shown["devices"]] == [("31", 1)]
    assert [(row["device_number"], row["status"]) for row in shown["refused"]] == [("29", 422)]
    assert "a measure is at fault" in await cli("outbox")
    cli.platform.devices, cli.platform.poison = None, set()
    await cli("outbox", "--requeue-refused")
    await cli("outbox", "--retry-unknown")
    assert (await cli.json("flush"))["run"]["sent_measures"] == 2


async def test_a_replay_that_was_given_up_goes_on_where_it_stopped(cli: Cli, tmp_path: Path) -> None:
    file, mapping = tmp_path / "f.csv", tmp_path / "m.json"
    file.write_text("t,A\n" + "".join(f"2026-03-01 00:{i:02},{i}\n" for i in range(60)))
    sensors = [{"sensor": "Corriente A", "column": "A"}]
    time = {"columns": ["t"], "format": "%Y-%m-%d %H:%M", "zone": "Etc/GMT-1"}
    mapping.write_text(json.dumps({"time": time, "devices": [{"number": "29", "sensors": sensors}]}))
    replay = ["replay", str(file), "--mapping", str(mapping), "--speed", "max", "--first-wait", "0.01"]
    await cli.import_token()
    cli.platform.faults = lambda: Fault.UNAVAILABLE
    given_up = await cli.json(*replay, "--give-up-after", "0.5", code=3)
    assert given_up["waiting"] == 60
    cli.platform.faults = lambda: Fault.NONE
    summary = await cli.json(*replay)
    assert (summary["run"]["stored_measures"], summary["run"]["sent_measures"]) == (0, 60)
    again = await cli.json(*replay)
    assert (again["run"]["stored_measures"], again["run"]["sent_measures"]) == (60, 60)
    assert [len(values) for values in cli.platform.arrivals.values()] == [2] * 60


async def test_a_device_is_shown_as_the_platform_knows_it(cli: Cli) -> None:
    cli.platform.devices = {"Nº 30/b"}
    await cli.import_token()
    assert (await cli.json("device", "Nº 30/b"))["number"] == "Nº 30/b"
    await cli("device", "29", code=1)
    assert cli.error == "metering-gateway: 404 device_unknown: this provider has no such device\n"


async def test_whose_token_it_is_is_shown_and_never_the_token(cli: Cli) -> None:
    await cli.import_token()
    shown = await cli("token", "show", "--json")
    assert json.loads(shown).keys() == {"provider", "gateway", "expiresAt"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["outbox"], "no outbox in"),
        (["token", "import", "/nowhere"], "No such file"),
        (["replay", "/nowhere", "--mapping", "/nowhere"], "No such file"),
        (["send", "--device", "1", "--sensor", "x", "--value", "1", "--sensor", "y"], "its --value"),
        (["device", "1", "--url", ""], "--url or METERING_API_URL"),
        (["device", "1", "--url", "http://host/api/v1"], "without a path"),
        (["device", "1", "--url", "host"], "without a path"),
        (["device", "1"], "no token yet"),
    ],
)
async def test_what_is_wrong_is_one_clear_line(cli: Cli, arguments: list[str], says: str) -> None:
    await cli(*arguments, code=1)
    assert says in cli.error
    assert cli.error.count("\n") == 1


async def test_without_a_good_token_a_measure_is_kept_and_it_is_said_what_to_do(cli: Cli) -> None:
    assert (await cli.json(*SEND, code=3))["waiting"] == 1
    assert "import the issued one first; what is left stays in the outbox" in cli.error
    await cli("token", "import", given='{"refreshToken": "e30.eyJpYXQiOjEsImV4cCI6MiwiYXVkIjoiMSIsInN1YiI6IjIifQ.s"}')
    assert (await cli.json("flush", code=3))["waiting"] == 1
    assert "have a new token issued" in cli.error
    await cli.import_token()
    assert (await cli.json("flush"))["run"]["sent_measures"] == 1


async def test_what_was_given_up_stays_in_the_outbox(cli: Cli) -> None:
    await cli.import_token()
    cli.platform.faults = lambda: Fault.UNAVAILABLE
    assert (await cli.json(*SEND, "--give-up-after", "0.5", code=3))["waiting"] == 1
    assert "given up after 0.5 s; what is left stays in the outbox" in cli.error


async def test_a_signal_ends_the_sending_and_what_was_done_is_still_said(cli: Cli) -> None:
    await cli.import_token()
    cli.platform.faults = lambda: Fault.UNAVAILABLE
    reached = asyncio.Event()
    cli.platform.on_call = lambda path: reached.set() if path.endswith("/measurements") else None
    process = await cli.start(*SEND, "--json")
    await asyncio.wait_for(reached.wait(), 60)
    process.terminate()
    out, error = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, json.loads(out)["waiting"]) == (3, 1)
    assert b"interrupted" in error


async def test_a_damaged_token_is_not_taken(cli: Cli) -> None:
    await cli("token", "import", given="{}", code=1)
    assert "expected is the issued" in cli.error


async def test_many_made_up_meters_at_a_rate(cli: Cli) -> None:
    await cli.import_token()
    summary = await cli.json("simulate", "--devices", "7", "--rate", "100", "--seconds", "0.7", "--prefix", "s-")
    assert (summary["run"]["sent_measures"], summary["run"]["accepted"]) == (70, 280)
    assert {device for device, _, _ in cli.platform.arrivals} == {f"s-{number}" for number in range(1, 8)}


async def test_values_that_a_rule_refuses_have_an_exit_status_of_their_own(cli: Cli) -> None:
    cli.platform.refused_sensors = {"Corriente A": "RV-07"}
    await cli.import_token()
    summary = await cli.json(*SEND, code=4)
    assert (summary["waiting"], summary["run"]["refused_per_rule"]) == (0, {"RV-07": 1})


async def test_a_damaged_outbox_has_an_exit_status_of_its_own(cli: Cli) -> None:
    await cli.import_token()
    (cli.state / "outbox.sqlite").write_bytes(b"not a database" * 1000)
    await cli.json(*SEND, code=5)
    assert "the outbox was damaged; it now lies in" in cli.error
    assert len(cli.platform.arrivals) == 1


async def test_a_check_shows_how_a_file_is_understood_and_stores_nothing(cli: Cli, tmp_path: Path) -> None:
    file, mapping = tmp_path / "f.csv", tmp_path / "m.json"
    file.write_bytes("t;señal\n2026-03-01T00:00:00Z;1.234,5\n".encode("cp1252"))
    sensors = [{"sensor": "Corriente A", "column": "señal"}]
    mapping.write_text(json.dumps({"time": {"columns": ["t"]}, "devices": [{"number": "29", "sensors": sensors}]}))
    shown = await cli.json("replay", str(file), "--mapping", str(mapping), "--check")
    assert shown["file"] == {
        "encoding": "cp1252",
        "delimiter": ";",
        "decimal": ",",
        "thousands": ".",
        "zone": None,
        "rows": 1,
    }
    assert shown["measures"] == [{"deviceNumber": "29", "timestamp": 1772323200, "values": {"Corriente A": 1234.5}}]
    assert not cli.state.exists()
