"""`metering-gateway conformance`: a scripted platform for a client under test, and what that client did."""

import asyncio
import json
import os
import shlex
import time
from pathlib import Path

from metering_gateway.cli import display
from metering_gateway.cli.commands import EXIT_DONE, EXIT_ERROR
from metering_gateway.cli.options import UnreadableInputError
from metering_gateway.conformance.checks import Finding, find
from metering_gateway.conformance.kit import Kit, as_csv, make_readings
from metering_gateway.conformance.platform import running

_POLL_SECONDS = 0.2
_AFTER_SECONDS = 3.0  # once everything is there, for a client that sends too much


async def conformance(
    port: int, folder: Path, seconds: float, command: str | None, *, clock_offset: int, as_json: bool
) -> int:
    """Returns EXIT_DONE if nothing was wrong. `clock_offset`: seconds that the platform's clock is ahead."""
    now = int(time.time()) + clock_offset
    kit = Kit(make_readings(now), lambda: time.time_ns() // 1_000_000 + 1000 * clock_offset)
    async with running(kit.platform, port):
        environment = _files(kit, folder)
        for name, value in environment.items():
            display.say(f"{name}={value}")
        code = await _client(kit, command, environment, seconds)
    findings = find(kit)
    if code:
        findings.append(Finding("the client ends with status 0", "wrong", f"it ended with {code}"))
    display.findings([(f.rule, f.outcome, f.detail) for f in findings], as_json=as_json)
    return EXIT_ERROR if any(finding.outcome == "wrong" for finding in findings) else EXIT_DONE


def _files(kit: Kit, folder: Path) -> dict[str, str]:
    """What a client is given, in its environment."""
    state = folder / "state"
    state.mkdir(parents=True, exist_ok=True)
    if any(state.iterdir()):
        raise UnreadableInputError(f"{state} is not empty: each run begins with a new gateway")
    token, readings = folder / "token.json", folder / "readings.csv"
    token.write_text(json.dumps({"refreshToken": kit.platform.issued_refresh_token()}), encoding="utf-8")
    readings.write_text(as_csv(kit.readings), encoding="utf-8")
    return {
        "METERING_API_URL": kit.platform.url,
        "METERING_TOKEN": str(token.absolute()),
        "METERING_READINGS": str(readings.absolute()),
        "METERING_GATEWAY_STATE": str(state.absolute()),
    }


async def _client(kit: Kit, command: str | None, environment: dict[str, str], seconds: float) -> int:
    """Its exit status; 0 for one that somebody else started."""
    deadline = asyncio.get_running_loop().time() + seconds
    if command is None:
        while not kit.done and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110  a look at many things
            await asyncio.sleep(_POLL_SECONDS)
        await asyncio.sleep(_AFTER_SECONDS)
        return 0
    process = await asyncio.create_subprocess_exec(*shlex.split(command), env=os.environ | environment)
    try:
        return await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        return -1
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
