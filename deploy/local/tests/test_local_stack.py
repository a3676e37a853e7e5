"""`make up` as its users live with it: again and again, after kill -9 of anything, beside another one."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from metering_local import supervisor
from metering_local.testing_stack import LocalStack, local_stack

PROCESSES = {
    "postgres", "kafka", "auth", "ingest-api-1", "ingest-api-2", "validator", "writer", "registers", "ecl-poller",
    "caddy",
}  # fmt: skip


def until(holds: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_up_is_ready_and_a_second_up_changes_nothing(platform: LocalStack) -> None:
    before = platform.status()
    assert before["ready"] is True
    assert {process["name"] for process in before["processes"]} == PROCESSES
    platform.up()
    assert platform.pids() == {process["name"]: process["pid"] for process in before["processes"]}


def test_each_python_service_stays_under_150_megabytes(platform: LocalStack) -> None:
    sizes = {process["name"]: process["megabytes"] for process in platform.status()["processes"]}
    assert max(size for name, size in sizes.items() if name not in {"postgres", "kafka", "caddy"}) < 150


def test_local_env_is_private_and_names_everything(platform: LocalStack) -> None:
    file = platform.stack.local_env
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = dict(line.removeprefix("export ").split("=", 1) for line in file.read_text().splitlines()[1:])
    assert lines["METERING_API_URL"] == platform.stack.api_url
    assert len(lines["METERING_INGEST_API_ADMIN_URL"].split(",")) == 2
    assert {"METERING_KAFKA", "METERING_DATABASE_URL", "AUTH_DATABASE_URL", "AUTH_KEY_ENCRYPTION_KEY"} <= lines.keys()


def test_what_is_killed_comes_back(platform: LocalStack) -> None:
    for name, pid in platform.pids().items():
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda name=name, pid=pid: platform.pids()[name] not in (None, pid))  # type: ignore[misc]  # mypy infers no lambda with defaults
    platform.up()
    assert platform.status()["ready"] is True


def test_up_recovers_when_the_supervisor_was_killed(platform: LocalStack) -> None:
    before = platform.pids()
    pid = supervisor.supervisor_pid(platform.stack)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    platform.up()
    assert not set(before.values()) & set(platform.pids().values())
    assert platform.status()["ready"] is True


def test_one_process_runs_in_the_foreground_and_is_supervised_again_afterwards(platform: LocalStack) -> None:
    supervised = platform.pids()["validator"]
    command = [sys.executable, "-m", "metering_local.cli", "run", "validator"]
    with subprocess.Popen(command, env=platform.environment, stdout=subprocess.PIPE, text=True) as tool:
        until(lambda: platform.pids()["validator"] is None and platform.health("validator") == 200)
        tool.send_signal(signal.SIGINT)
        logged, _ = tool.communicate(timeout=60)
    assert tool.returncode == 0
    assert [json.loads(line)["event"] for line in logged.splitlines()][-1] == "service.stopped"
    until(lambda: platform.pids()["validator"] not in (None, supervised))
    platform.up()


def test_a_process_that_is_none_is_named_with_those_that_are(platform: LocalStack) -> None:
    done = platform.run("run", "validater")
    assert done.returncode == 1
    assert done.stderr.startswith("there is no process 'validater'; there are auth, ingest-api-1")


def test_the_load_balancer_goes_on_with_one_ingest_api(platform: LocalStack) -> None:
    pid = platform.pids()["ingest-api-1"]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        until(lambda: _answers_promptly(platform))
    finally:
        os.kill(pid, signal.SIGCONT)


def _answers_promptly(platform: LocalStack) -> bool:
    """Four answers in a row: whoever took turns would have met the sleeping one."""
    return all(_status_line(platform) for _ in range(4))


def _status_line(platform: LocalStack) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", platform.stack.ports.api), timeout=1.5) as connection:
            connection.sendall(b"GET /api/v1/spec HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            line = connection.recv(12)
    except TimeoutError:
        return b""
    assert line == b"HTTP/1.1 200"
    return line


def test_two_stacks_stand_side_by_side_and_end_without_a_trace(platform: LocalStack, tmp_path: Path) -> None:
    other = local_stack(tmp_path / "other")
    try:
        other.up()
        assert platform.status()["ready"] is True
        pids = [pid for pid in other.pids().values() if pid is not None]
        assert other.run("down").returncode == 0
        assert not any(psutil.pid_exists(pid) for pid in pids)
        assert other.status()["processes"] == []
    finally:
        other.run("clean")
    assert not other.stack.state.exists()
    assert platform.status()["ready"] is True


def test_a_running_platform_does_not_move_to_other_ports(platform: LocalStack) -> None:
    moved = LocalStack(platform.stack, platform.environment | {"METERING_PORT_BASE": "40000"})
    done = moved.run("up")
    assert done.returncode == 1
    assert f"is up on the ports from {platform.stack.ports.base}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    other = local_stack(tmp_path / "other")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", other.stack.ports.postgres))
        taken.listen()
        done = other.run("up")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {other.stack.ports.postgres}, which PostgreSQL needs, is in use by" in done.stderr
