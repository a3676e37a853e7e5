"""Behind ingest-api the validator reads one device's element in full, here: quickly when clean, else piece by piece.

Two ways to read the same bytes. `CleanReader` decodes straight into types and takes only what is wholly well-formed:
integer timestamps, known names, finite numbers. `read_element` takes everything that ingest-api lets in and keeps each
value as it came, so that what is wrong with it can be said. What the first takes the second reads alike (held by
property tests). An element that the second cannot read is poison: no release can read it.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, Generic, Literal, TypeVar

import msgspec

from metering_common.contract.messages import MAX_RAW_TEXT

MAX_NESTING = 16
_MAX_INTEGER_DIGITS = 19
_BEYOND: int = 10**_MAX_INTEGER_DIGITS

Name = TypeVar("Name")


class UnreadableElementError(Exception):
    """The bytes are no element of a measurements request: not UTF-8, not JSON, or not of this shape."""


class CleanValue(msgspec.Struct, Generic[Name], gc=False, rename="camel"):
    """A finite number under a known name."""

    sensor_name: Name
    sensor_value: float


class CleanMeasure(msgspec.Struct, Generic[Name], rename="camel"):
    """One moment, Unix seconds."""

    timestamp: int
    sensor_values: list[CleanValue[Name]]


class CleanElement(msgspec.Struct, Generic[Name], rename="camel"):
    """One device's measures, all well-formed."""

    device_number: str
    measures: list[CleanMeasure[Name]]


class CleanReader:
    """Decodes clean elements. Given the expected names it hands out those same text objects, at two thirds the cost.

    Names are compared as they stand: NFC and trimming are for `read_element`'s caller.
    """

    def __init__(self, names: Iterable[str]) -> None:
        expected = tuple(dict.fromkeys(names))
        name_type: Any = Literal[expected] if expected else str
        self._decoder: msgspec.json.Decoder[CleanElement[str]] = msgspec.json.Decoder(CleanElement[name_type])

    def read(self, value: bytes) -> CleanElement[str] | None:
        """The element, or None when it is not clean (or not readable at all: that is for `read_element` to say)."""
        try:
            value.decode("utf-8")  # the decoder looks only at the texts that it takes
            return self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


class JsonNumber(str):
    """A JSON number (or one of the bare words NaN, Infinity, -Infinity) as its text stood in the document."""

    __slots__ = ()


class Absent:
    """What stands where a member is missing."""


ABSENT = Absent()

Json = Any
"""None, bool, str, `JsonNumber`, list or dict of these; `ABSENT` for a missing member."""


class Measure(msgspec.Struct, frozen=True):
    """One moment as it came: both members may be anything but missing; the values are whatever the list holds."""

    timestamp: Json
    sensor_values: list[Json]


class Element(msgspec.Struct, frozen=True):
    """One device's measures as they came."""

    device_number: str
    measures: list[Measure]


def read_element(value: bytes | None) -> Element:
    """Everything that ingest-api lets in; raises `UnreadableElementError` otherwise."""
    document = _parse(value)
    if not isinstance(document, dict):
        raise UnreadableElementError("the element is no JSON object")
    number, measures = document.get("deviceNumber"), document.get("measures")
    if type(number) is not str:
        raise UnreadableElementError("deviceNumber is missing or no text")
    if type(measures) is not list:
        raise UnreadableElementError("measures is missing or no list")
    return Element(number, [_read_measure(index, measure) for index, measure in enumerate(measures)])


def _parse(value: bytes | None) -> Json:
    if value is None:
        raise UnreadableElementError("the record has no value")
    try:
        return json.loads(
            value.decode("utf-8"),
            strict=False,
            parse_float=JsonNumber,
            parse_int=JsonNumber,
            parse_constant=JsonNumber,
        )
    except UnicodeDecodeError as error:
        raise UnreadableElementError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    except ValueError as error:
        raise UnreadableElementError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise UnreadableElementError("nested too deep") from error


def _read_measure(index: int, measure: Json) -> Measure:
    if not isinstance(measure, dict):
        raise UnreadableElementError(f"measures/{index} is no JSON object")
    if "timestamp" not in measure:
        raise UnreadableElementError(f"measures/{index} has no timestamp")
    sensor_values = measure.get("sensorValues")
    if type(sensor_values) is not list:
        raise UnreadableElementError(f"measures/{index}/sensorValues is missing or no list")
    return Measure(measure["timestamp"], sensor_values)


def named_value(entry: Json) -> tuple[str | None, Json]:
    """An entry of `sensorValues` as (name, value): None where there is no text for a name, `ABSENT` for no value."""
    if not isinstance(entry, dict):
        return None, entry
    name = entry.get("sensorName", ABSENT)
    return (name if type(name) is str else None), entry.get("sensorValue", ABSENT)


def finite_number(value: Json) -> float | None:
    """The double that a JSON number stands for; None for anything else, for NaN and for what overflows."""
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
    """The value of a JSON integer (no fraction, no exponent); one beyond 19 digits is brought to ±10^19."""
    if type(value) is not JsonNumber:
        return None
    text: str = value
    if not text.lstrip("-").isdecimal():
        return None
    if len(text) > _MAX_INTEGER_DIGITS:
        return -_BEYOND if text.startswith("-") else _BEYOND
    return int(text)


def json_text(value: Json) -> str:
    """What came, as ASCII-escaped JSON text of at most 200 characters; empty for a missing member."""
    return cut(_json_text(value, 0))


def escaped(text: str) -> str:
    """A name as ASCII-escaped JSON text without the quotes, at most 200 characters."""
    return cut(json.dumps(text)[1:-1])


def cut(escaped_text: str) -> str:
    """At most 200 characters of ASCII-escaped text, never ending inside an escape."""
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
