"""Reads JSON so that each number keeps its text, and writes what came as bounded, ASCII-escaped JSON text."""

import json
import math
from typing import Any

import msgspec

from metering_common.contract.limits import MAX_NESTING
from metering_common.contract.messages import MAX_RAW_TEXT

_MAX_INTEGER_DIGITS = 19
_BEYOND: int = 10**_MAX_INTEGER_DIGITS


class JsonNumber(str):
    """A JSON number (or one of the bare words NaN, Infinity, -Infinity) as its text stood in the document."""

    __slots__ = ()


class Absent:
    """What stands where a member is missing."""


ABSENT = Absent()

Json = Any
"""None, bool, str, `JsonNumber`, list or dict of these; `ABSENT` for a missing member; `Raw` where not yet parsed."""


def parse(text: str) -> Json:
    """Raises ValueError for what is no JSON, RecursionError for what is nested too deep."""
    return json.loads(text, strict=False, parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=JsonNumber)


def finite_number(value: Json) -> float | None:
    """Returns the double that a JSON number stands for; None for anything else, for NaN and for what overflows."""
    if type(value) is not JsonNumber:
        return None
    number = float(value)
    if not math.isfinite(number):
        return None
    return number or _zero(value)


def _zero(text: str) -> float:
    """The integer `-0` has no sign, as in the typed decoder; `-0.0` keeps it."""
    return 0.0 if text == "-0" else float(text)


def integer(value: Json) -> int | None:
    """Returns a JSON integer (no fraction, no exponent); one beyond 19 digits is brought to ±10^19."""
    if type(value) is not JsonNumber:
        return None
    text: str = value
    if not text.lstrip("-").isdecimal():
        return None
    if len(text) > _MAX_INTEGER_DIGITS:
        return -_BEYOND if text.startswith("-") else _BEYOND
    return int(text)


def json_text(value: Json) -> str:
    """Returns what came as ASCII-escaped JSON text of at most 200 characters; empty for a missing member."""
    if isinstance(value, msgspec.Raw):
        value = parsed(value)
    return cut(_json_text(value, 0))


def parsed(raw: msgspec.Raw) -> Json:
    """Returns what stands in bytes that msgspec has passed over; `ABSENT` is never returned."""
    try:
        return parse(bytes(raw).decode("utf-8"))
    except RecursionError:
        return [ABSENT]


def escaped(text: str) -> str:
    """Returns a name as ASCII-escaped JSON text without the quotes, at most 200 characters."""
    return cut(json.dumps(text)[1:-1])


def cut(escaped_text: str) -> str:
    """Returns at most 200 characters of ASCII-escaped text, never ending inside an escape."""
    if len(escaped_text) <= MAX_RAW_TEXT:
        return escaped_text
    kept = escaped_text[:MAX_RAW_TEXT]
    escape = kept.rfind("\\u", MAX_RAW_TEXT - 5)
    if escape != -1:
        kept = kept[:escape]
    trailing = len(kept) - len(kept.rstrip("\\"))
    return kept[:-1] if trailing % 2 else kept


def _json_text(value: Json, depth: int) -> str:
    if depth > MAX_NESTING:
        return "..."
    if type(value) is JsonNumber:
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(_json_text(item, depth + 1) for item in value) + "]"
    if isinstance(value, dict):
        members = (f"{json.dumps(name)}:{_json_text(item, depth + 1)}" for name, item in value.items())
        return "{" + ",".join(members) + "}"
    return "" if value is ABSENT else json.dumps(value)
