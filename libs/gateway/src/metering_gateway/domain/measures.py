"""What a gateway holds of a measure between the meter and the platform's 201."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

SensorValue = float | int | str | bool | None
SensorValues = Mapping[str, SensorValue]

_INT64 = 1 << 63


@dataclass(frozen=True, slots=True)
class Measure:
    """A reading before it is stored: `timestamp` in Unix seconds by the platform's clock."""

    device_number: str
    timestamp: int
    values: SensorValues


@dataclass(frozen=True, slots=True)
class StoredMeasure:
    """A measure in the outbox; `sensor_values` is the JSON text of the published `sensorValues` list."""

    id: int
    device_number: str
    timestamp: int
    sensor_values: str
    value_count: int


class UnstorableMeasureError(ValueError):
    """A reading that cannot be written as the published JSON: no text, no whole number of seconds, …"""


def sensor_values_json(values: SensorValues) -> str:
    """The published `sensorValues` list as JSON text.

    A number that JSON has no word for (NaN, an infinity) travels as text, `"NaN"`: the platform refuses it by its
    rule and keeps it, so that the account stays true, and the body stays JSON.
    """
    entries = [{"sensorName": name, "sensorValue": _json_value(value)} for name, value in values.items()]
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":"))
    require_utf8(text)
    return text


def require_utf8(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnstorableMeasureError(f"not writable as UTF-8: {error.reason}") from error


def require_timestamp(timestamp: int) -> None:
    if isinstance(timestamp, bool) or not isinstance(timestamp, int) or not -_INT64 <= timestamp < _INT64:
        raise UnstorableMeasureError(f"a timestamp is a whole number of Unix seconds, not {timestamp!r}")


def _json_value(value: SensorValue) -> SensorValue:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value
