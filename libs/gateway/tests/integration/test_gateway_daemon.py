"""The daemon as an installer runs it: a file, a process, signals, a health file, a socket of the service manager."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metering_gateway.conformance import Platform, running
from metering_gateway.gateway import TOKEN_FILE
from metering_gateway.token_file import TokenFile, TokenPair

T0 = 1_773_241_500


def write_config(folder: Path, platform: Platform, more: str = "") -> Path:
    state = folder / "state"
    state.mkdir(exist_ok=True)
    if not (state / TOKEN_FILE).exists():
        TokenFile(state / TOKEN_FILE).write(TokenPair(platform.issued_refresh_token()))
    path = folder / "gateway.toml"
    path.write_text(
        f'[platform]\nurl = "{platform.url}"\n[state]\ndirectory = "{state}"\n'
        f'[health]\nfile = "{folder}/health.json"\nevery_seconds = 0.2\n'
        f'[[source]]\nkind = "lines"\npath = "{folder}/meters"\n{more}'
    )
    return path


async def command(*arguments: str, environment: dict[str, str] | None = None) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "metering_gateway",
        *arguments,
        env=os.environ | (environment or {}),
        stdout=pipe,
        stderr=pipe,
    )


@asynccontextmanager
async def daemon(config: Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await command("run", "--config", str(config), environment=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():  # noqa: ASYNC110  what is watched has no event
            await asyncio.sleep(0.02)


async def write_line(folder: Path, at: int, sensor: str = "Corriente A") -> None:
    await until((folder / "meters").exists)
    line = json.dumps({"device": "29", "timestamp": at, "values": {sensor: 1.4}}) + "\n"
    await asyncio.to_thread((folder / "meters").write_text, line)


async def test_the_daemon_sends_what_its_sources_give_and_ends_on_a_signal(tmp_path: Path) -> None:
    async with running(Platform()) as platform:
        config = write_config(tmp_path, platform)
        async with daemon(config) as process:
            await write_line(tmp_path, T0)
            await until(lambda: bool(platform.arrivals))
            await until(lambda: json.loads((tmp_path / "health.json").read_text())["sent"] == 1)
            status = await command("status", "--config", str(config), "--json")
            shown = json.loads((await status.communicate())[0])
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 30) == 0
    assert (status.returncode, shown["good"], shown["running"], shown["sources"]) == (0, True, True, {"lines-1": ""})


async def test_a_daemon_that_was_killed_goes_on_with_what_it_had(tmp_path: Path) -> None:
    async with running(Platform()) as platform:
        config = write_config(tmp_path, platform)
        platform.devices = set()
        async with daemon(config) as process:
            await write_line(tmp_path, T0)
            await until((tmp_path / "health.json").exists)
            await until(lambda: json.loads((tmp_path / "health.json").read_text())["waiting"] == 1)
            process.kill()
            await process.wait()
        platform.devices = None
        async with daemon(config) as process:
            await write_line(tmp_path, T0 + 1, "Voltaje A-N")
            await until(lambda: len(platform.arrivals) >= 1)
    assert ("29", T0 + 1, "Voltaje A-N") in platform.arrivals


async def test_sighup_reads_the_file_again_and_a_mistake_in_it_changes_nothing(tmp_path: Path) -> None:
    async with running(Platform()) as platform:
        config = write_config(tmp_path, platform)
        async with daemon(config) as process:
            await write_line(tmp_path, T0)
            await until(lambda: len(platform.arrivals) == 1)
            config.write_text(config.read_text().replace("kind", "kinds"))
            process.send_signal(signal.SIGHUP)
            await write_line(tmp_path, T0 + 1)
            await until(lambda: len(platform.arrivals) == 2)
            write_config(tmp_path, platform, 'sensors = {"Corriente A" = "Corriente B"}\n')
            process.send_signal(signal.SIGHUP)
            at = T0 + 2
            while ("29", at, "Corriente B") not in platform.arrivals:
                at += 1
                await write_line(tmp_path, at)
                await asyncio.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            _, error = await asyncio.wait_for(process.communicate(), 30)
    assert b"gateway.toml:8: source.0.kind" in error
    assert process.returncode == 0


async def test_the_service_manager_is_told_and_the_watchdog_fed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)  # noqa: FBT003  the standard library's own signature
        async with running(Platform()) as platform:
            config = write_config(tmp_path, platform)
            async with daemon(config, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000") as process:
                told = [await _received(manager) for _ in range(4)]
                process.send_signal(signal.SIGTERM)
                while "STOPPING=1" not in told:
                    told.append(await _received(manager))
    assert {"READY=1", "WATCHDOG=1"} <= set(told)


async def _received(manager: socket.socket) -> str:
    return (await asyncio.wait_for(asyncio.get_running_loop().sock_recv(manager, 100), 60)).decode()


@pytest.mark.parametrize("name", ["run", "status"])
async def test_a_wrong_configuration_is_said_by_its_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "gateway.toml").write_text("[platform]\nurl = 7\n[state]\n")
    process = await command(name, "--config", str(tmp_path / "gateway.toml"))
    _, error = await process.communicate()
    assert process.returncode == 1
    assert b"gateway.toml:2: platform.url: text is expected" in error
    assert b"gateway.toml:3: state.directory: is missing" in error


async def test_a_dry_run_prints_what_is_read_and_sends_nothing(tmp_path: Path) -> None:
    async with running(Platform()) as platform:
        config = write_config(tmp_path, platform)
        process = await command("run", "--config", str(config), "--dry-run")
        await write_line(tmp_path, T0)
        assert process.stdout is not None
        printed = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
        process.kill()
        await process.communicate()
    assert printed == {"device": "29", "timestamp": T0, "values": {"Corriente A": 1.4}}
    assert not platform.calls
