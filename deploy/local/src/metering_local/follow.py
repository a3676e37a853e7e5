"""Follows one batch through the logs, in the order of time: the tour of docs/follow-one-measure.md, as it happened."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

NOT_TOLD = {"event", "time", "level", "service", "batch_ids", "batch_id"}


def follow_batch(logs: Path, batch: str) -> list[str]:
    """A line per log entry that names the batch: time, service, event, and what else the entry says."""
    if not batch:
        return []
    entries = [entry for log in sorted(logs.glob("*.log*")) for entry in _entries(log, batch)]
    entries.sort(key=lambda entry: str(entry.get("time", "")).rstrip("Z"))  # with or without microseconds
    return [_line(number, entry) for number, entry in enumerate(entries, start=1)]


def _entries(log: Path, batch: str) -> Iterator[dict[str, Any]]:
    wanted = batch.encode()
    with log.open("rb") as lines:
        for line in lines:
            if wanted in line and line.startswith(b"{"):
                yield _read(line, log.stem)


def _read(line: bytes, name: str) -> dict[str, Any]:
    """The entry; where there are replicas, the process that wrote it instead of its service."""
    try:
        entry = dict(orjson.loads(line))
    except orjson.JSONDecodeError:  # cut off by a kill
        return {"service": name, "event": "(broken line)"}
    return entry | {"service": name}


def _line(number: int, entry: dict[str, Any]) -> str:
    rest = " ".join(f"{name}={_text(value)}" for name, value in entry.items() if name not in NOT_TOLD)
    among = len(entry.get("batch_ids", []))
    beside = f" (with {among - 1} other batches)" if among > 1 else ""
    return (
        f"{number:3} {entry.get('time', '-')} {entry['service']:13} {entry.get('event', '-')}{beside} {rest}".rstrip()
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
