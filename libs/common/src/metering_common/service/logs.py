"""JSON lines on stdout with a stable `event` and the batch ids: what `make follow` prints the tour of a batch from."""

import json
import logging
import math
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog

_SECRET_NAME = re.compile(
    r"password|secret|token|authorization|credential|dsn|database_url|private|cookie", re.IGNORECASE
)
_SECRET_TEXT = re.compile(r"eyJ[\w-]{5,}\.[\w-]+\.[\w-]*|(?<=://)[^:/@\s\"]*:[^@\s\"]+(?=@)")
REPEAT_SECONDS = 10.0
_COMPLAINTS_KEPT = 1_000
_REDACTED = "[redacted]"


def configure(service: str, level: str) -> None:
    """Own lines from `level` on, libraries' from warning on, all as JSON with time, level, service and context."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _named(service),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, _to_json],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=False,
    )
    _adopt_libraries(shared, level)


def redact(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Fields whose name says secret lose their value; tokens and passwords in URLs lose it anywhere."""
    for name, value in entry.items():
        if _SECRET_NAME.search(name) and not isinstance(value, int | float | None):
            entry[name] = _REDACTED
        elif isinstance(value, str):
            entry[name] = _SECRET_TEXT.sub(_REDACTED, value)
    return entry


def _named(service: str) -> structlog.typing.Processor:
    def add_service(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        entry["service"] = service
        return entry

    return add_service


def _to_json(_logger: object, _method: str, entry: MutableMapping[str, Any]) -> str:
    """What JSON cannot say is told as text; a lone surrogate, which orjson refuses, is escaped by `json`."""
    try:
        text = orjson.dumps(entry, default=str).decode()
    except orjson.JSONEncodeError:
        text = json.dumps(entry, default=str)
    return _SECRET_TEXT.sub(_REDACTED, text)


def _adopt_libraries(shared: list[structlog.typing.Processor], level: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _to_json],
        )
    )
    handler.addFilter(_SaidLately())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))


class _SaidLately(logging.Filter):
    """Lets a library's complaint through once in a while: aiokafka repeats its own ten times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.name, str(record.msg)
        if record.created - self._said_at.get(said, -math.inf) < REPEAT_SECONDS:
            return False
        if len(self._said_at) >= _COMPLAINTS_KEPT:
            self._said_at.clear()
        self._said_at[said] = record.created
        return True
