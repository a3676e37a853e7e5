"""What systemd is told (sd_notify) and how the journal is written to, without a library."""

import logging
import os
import socket
from collections.abc import Mapping

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def notify(state: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Sends `READY=1`, `WATCHDOG=1`, … to the service manager. Returns False if there is none."""
    address = environment.get("NOTIFY_SOCKET")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())
    return True


def watchdog_seconds(environment: Mapping[str, str] = os.environ) -> float | None:
    """How often the service manager wants to hear of us: half of its limit. None without a watchdog."""
    limit = environment.get("WATCHDOG_USEC", "")
    return int(limit) / 2_000_000 if limit.isdigit() and int(limit) else None


def log_to_stderr(environment: Mapping[str, str] = os.environ) -> None:
    """Under systemd each line begins with its priority, which the journal understands; else with its time."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JournalFormatter() if "JOURNAL_STREAM" in environment else _TERMINAL)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _JournalFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{super().format(record)}"


_TERMINAL = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
