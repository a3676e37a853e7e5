"""What must be so on this machine before any process of a measure's way is started, each fault told in one line."""

import shutil
import socket
from pathlib import Path

import psutil

from metering_local.errors import EnvironmentProblemError
from metering_local.stack import PORT_COUNT, Stack

NEEDED_BYTES = 400 * 1024 * 1024
"""Kafka sets 50 MB of indexes and segments aside at once, PostgreSQL 40 MB; the demo adds 60 MB."""


def check_disk(state: Path, needed_bytes: int = NEEDED_BYTES) -> None:
    """EnvironmentProblemError unless the state folder can be made, written and has room."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        (state / ".writable").write_text("")
        (state / ".writable").unlink()
        free = shutil.disk_usage(state).free
    except OSError as error:
        raise EnvironmentProblemError(f"{state} cannot be written: {error.strerror}") from error
    if free < needed_bytes:
        raise EnvironmentProblemError(
            f"no disk space left in {state}: {free >> 20} MB are free, {needed_bytes >> 20} MB are needed;"
            " free some, or set METERING_STATE_DIR to a folder on another disk"
        )


def check_ports(stack: Stack) -> None:
    """EnvironmentProblemError naming the first port of the stack that somebody else has, and who."""
    for purpose, (host, port) in stack.ports.listeners().items():
        if not can_bind(host, port):
            raise EnvironmentProblemError(
                f"port {port}, which {purpose} needs, is in use by {_holder(port)};"
                f" set METERING_PORT_BASE to the first of {PORT_COUNT} free ports"
            )


def can_bind(host: str, port: int) -> bool:
    """True if nobody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _holder(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
        pid = next(one.pid for one in connections if one.laddr and one.laddr.port == port and one.pid)
        return f"{psutil.Process(pid).name()} (process {pid})"
    except (StopIteration, psutil.Error):
        return "another process"
