"""Reads a clean element straight into types: integer timestamps, known names, finite numbers, nothing else.

What is read here, `received.read_element` reads alike (held by property tests).
"""

from collections.abc import Iterable
from typing import Any, Generic, Literal, TypeVar

import msgspec

Name = TypeVar("Name")


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

    Names are compared as they stand: NFC and trimming are for `received`.
    """

    def __init__(self, names: Iterable[str]) -> None:
        expected = tuple(dict.fromkeys(names))
        name_type: Any = Literal[expected] if expected else str
        self._decoder: msgspec.json.Decoder[CleanElement[str]] = msgspec.json.Decoder(CleanElement[name_type])

    def read(self, value: bytes) -> CleanElement[str] | None:
        """Returns the element, or None when it is not clean (or not readable at all: `read_element` says which)."""
        try:
            value.decode("utf-8")  # the decoder looks only at the texts that it takes
            return self._decoder.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
