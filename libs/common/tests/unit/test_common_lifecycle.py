"""How a service's process ends: drained after a signal, with an error after a failure, by force when a drain hangs."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytestmark = pytest.mark.fast

PROGRAM = """
import asyncio, sys, time
from contextlib import asynccontextmanager
from pydantic_settings import SettingsConfigDict
from metering_common.service.lifecycle import serve
from metering_common.service.settings import KafkaSettings, ServiceSettings

async def hang(): await asyncio.Event().wait()
async def fail(): raise ValueError("no way on")
async def group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(fail())
async def cut(): raise asyncio.CancelledError
async def nothing(): pass
async def block(): time.sleep(60)

class Some:
    def __init__(self, run): self.work, self.stopping = run, asyncio.Event()
    async def run(self):
        await self.work()
        if self.work is nothing: await self.stopping.wait()
        print('"finished what was in flight"', flush=True)

@asynccontextmanager
async def build(settings):
    print('"opening"', flush=True)
    await OPENING()
    service = Some(RUNNING)
    try:
        yield service
    finally:
        service.stopping.set()
        await asyncio.sleep(0)
        await CLOSING()
        print('"closed"', flush=True)

OPENING, RUNNING, CLOSING = map(globals().get, sys.argv[1:])
settings = ServiceSettings(admin_port=0, drain_seconds=0.3, kafka=KafkaSettings(bootstrap_servers="x"))
sys.exit(serve("some", settings, build))
"""


@contextmanager
def service(opening: str, running: str, closing: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PROGRAM, opening, running, closing]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"ended without {text}")


def rest(process: subprocess.Popen[str]) -> tuple[int, list[Any]]:
    """Exit status and what was said: events of log lines, and the program's own words."""
    assert process.stdout is not None
    said = [json.loads(line) for line in process.stdout]
    return process.wait(timeout=20), [line["event"] if isinstance(line, dict) else line for line in said]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_while_the_service_still_runs(number: signal.Signals) -> None:
    with service("nothing", "nothing", "nothing") as process:
        read_until(process, "service.started")
        process.send_signal(number)
        status, said = rest(process)
    assert status == 0
    assert said == ["service.draining", "finished what was in flight", "closed", "service.stopped"]


def test_what_is_left_of_run_after_the_drain_is_cancelled() -> None:
    with service("nothing", "hang", "nothing") as process:
        read_until(process, "service.started")
        process.terminate()
        assert rest(process) == (0, ["service.draining", "closed", "service.stopped"])


def test_the_one_task_that_failed_is_named() -> None:
    with service("nothing", "group", "nothing") as process:
        assert process.stdout is not None
        [line] = [line for line in process.stdout if "service.failed" in line]
    assert json.loads(line)["error"] == "ValueError: no way on"


@pytest.mark.parametrize("running", ["fail", "cut", "group"])
def test_a_failing_run_closes_and_ends_with_1(running: str) -> None:
    with service("nothing", running, "nothing") as process:
        read_until(process, "service.started")
        assert rest(process) == (1, ["service.failed", "closed", "service.stopped"])


def test_a_failing_start_ends_with_1() -> None:
    with service("fail", "hang", "nothing") as process:
        assert rest(process) == (1, ["opening", "service.failed"])


def test_a_signal_while_opening_ends_it() -> None:
    with service("hang", "hang", "nothing") as process:
        read_until(process, "opening")
        process.terminate()
        assert rest(process) == (0, ["service.stopped"])


@pytest.mark.parametrize("closing", ["hang", "block"])
def test_a_drain_that_hangs_is_ended_by_force_also_when_it_blocks_the_loop(closing: str) -> None:
    with service("nothing", "hang", closing) as process:
        read_until(process, "service.started")
        os.kill(process.pid, signal.SIGTERM)
        assert rest(process) == (70, ["service.draining", "service.drain_exceeded"])
