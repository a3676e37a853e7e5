"""Reads an element as it was received: all that ingest-api lets in, each value kept as it came.

msgspec cuts the element into measures, and each measure into names and unparsed values; where it refuses (bare `NaN`,
lone surrogates, entries that are no objects), the standard `json` reads the same piece. An element that neither reads
is poison: no release can read it.
"""

from typing import NamedTuple

import msgspec

from metering_validator.domain.json_text import ABSENT, Json, JsonNumber, finite_number, parse, parsed


class UnreadableElementError(Exception):
    """The bytes are no element of a measurements request: not UTF-8, not JSON, or not of this shape."""


class Cells(NamedTuple):
    """The entries of a measure, side by side."""

    names: tuple[str | None, ...]
    """None where there is no text for a name."""
    numbers: list[float | None]
    """None where what came is no finite JSON number."""
    came: list[Json]


class ReceivedMeasure:
    """One moment as it came: its timestamp may be anything but missing, its entries are whatever the list holds."""

    __slots__ = ("_cells", "_entries", "timestamp")

    def __init__(self, timestamp: Json, entries: msgspec.Raw | list[Json]) -> None:
        self.timestamp = timestamp
        self._entries = entries
        self._cells: Cells | None = None

    def at_most(self) -> int:
        """Returns a number that the entries do not exceed, without reading them."""
        return bytes(self._entries).count(b",") + 1 if isinstance(self._entries, msgspec.Raw) else len(self._entries)

    def size(self) -> int:
        """Returns the number of entries."""
        return len(_split(self._entries) if isinstance(self._entries, msgspec.Raw) else self._entries)

    def cells(self) -> Cells:
        """Reads the entries, once."""
        if self._cells is None:
            self._cells = _read_cells(self._entries)
        return self._cells


class ReceivedElement(NamedTuple):
    """One device's measures as they came."""

    device_number: str
    measures: list[ReceivedMeasure]


class _Entry(msgspec.Struct, gc=False, rename="camel"):
    sensor_name: str
    sensor_value: msgspec.Raw


class _Measure(msgspec.Struct, rename="camel"):
    timestamp: msgspec.Raw
    sensor_values: msgspec.Raw


class _Element(msgspec.Struct, rename="camel"):
    device_number: str
    measures: list[_Measure]


_element_decoder = msgspec.json.Decoder(_Element)
_entries_decoder = msgspec.json.Decoder(list[_Entry])
_numbers_decoder = msgspec.json.Decoder(list[float])
_pieces_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def read_element(value: bytes | None) -> ReceivedElement:
    """Reads everything that ingest-api lets in; raises `UnreadableElementError` otherwise."""
    if value is None:
        raise UnreadableElementError("the record has no value")
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableElementError(f"not UTF-8: {error.reason} at byte {error.start}") from error
    cut = _cut(value)
    return cut if cut is not None else _read_whole(text)


def _cut(value: bytes) -> ReceivedElement | None:
    """The quick way: what it cannot cut, `_read_whole` reads or refuses."""
    try:
        element = _element_decoder.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not all(bytes(measure.sensor_values).startswith(b"[") for measure in element.measures):
        return None
    measures = [ReceivedMeasure(_time(measure.timestamp), measure.sensor_values) for measure in element.measures]
    return ReceivedElement(element.device_number, measures)


def _time(raw: msgspec.Raw) -> Json:
    text = bytes(raw)
    return JsonNumber(text.decode()) if text.isdigit() else parsed(raw)


def _read_whole(text: str) -> ReceivedElement:
    document = _parse(text)
    if not isinstance(document, dict):
        raise UnreadableElementError("the element is no JSON object")
    number, measures = document.get("deviceNumber"), document.get("measures")
    if type(number) is not str:
        raise UnreadableElementError("deviceNumber is missing or no text")
    if type(measures) is not list:
        raise UnreadableElementError("measures is missing or no list")
    return ReceivedElement(number, [_read_measure(index, measure) for index, measure in enumerate(measures)])


def _parse(text: str) -> Json:
    try:
        return parse(text)
    except ValueError as error:
        raise UnreadableElementError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise UnreadableElementError("nested too deep") from error


def _read_measure(index: int, measure: Json) -> ReceivedMeasure:
    if not isinstance(measure, dict):
        raise UnreadableElementError(f"measures/{index} is no JSON object")
    if "timestamp" not in measure:
        raise UnreadableElementError(f"measures/{index} has no timestamp")
    sensor_values = measure.get("sensorValues")
    if type(sensor_values) is not list:
        raise UnreadableElementError(f"measures/{index}/sensorValues is missing or no list")
    return ReceivedMeasure(measure["timestamp"], sensor_values)


def _read_cells(entries: msgspec.Raw | list[Json]) -> Cells:
    if isinstance(entries, list):
        return _cells(entries)
    try:
        read = _entries_decoder.decode(entries)
    except (msgspec.DecodeError, RecursionError):
        return _cells(parsed(entries))
    came: list[Json] = [entry.sensor_value for entry in read]
    return Cells(tuple([entry.sensor_name for entry in read]), _numbers(came), came)


def _cells(entries: list[Json]) -> Cells:
    pairs = [named_value(entry) for entry in entries]
    came = [entry if pair[0] is None else pair[1] for entry, pair in zip(entries, pairs, strict=True)]
    return Cells(tuple([pair[0] for pair in pairs]), [finite_number(one) for one in came], came)


def named_value(entry: Json) -> tuple[str | None, Json]:
    """Returns an entry's name, None where there is no text for one, and its value, `ABSENT` where there is none."""
    if type(entry) is not dict:
        return None, entry
    name = entry.get("sensorName", ABSENT)
    return (name if type(name) is str else None), entry.get("sensorValue", ABSENT)


def _numbers(came: list[msgspec.Raw]) -> list[float | None]:
    """All at once where all are finite numbers, as nearly always."""
    together = b"[" + b",".join(came) + b"]"
    try:
        return _numbers_decoder.decode(together)  # type: ignore[return-value]  # a list of floats is one of float | None
    except msgspec.DecodeError:
        pass
    try:
        return [_number(value) for value in msgspec.json.decode(together)]
    except (msgspec.DecodeError, RecursionError):
        return [finite_number(parsed(one)) for one in came]


def _number(value: object) -> float | None:
    if type(value) is float:
        return value
    if type(value) is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _split(entries: msgspec.Raw) -> list[Json]:
    try:
        return _pieces_decoder.decode(entries)
    except (msgspec.DecodeError, RecursionError):
        split: list[Json] = parsed(entries)
        return split
