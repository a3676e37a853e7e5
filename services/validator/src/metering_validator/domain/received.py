"""Reads an element as it was received: all that ingest-api lets in, each value kept as it came.

msgspec cuts the element into measures, and each measure into names and unparsed values; where it refuses (bare `NaN`,
lone surrogates, entries that are no objects), the standard `json` reads the same piece. An element that neither reads
is poison: no release can read it.
"""

from math import isfinite
from typing import Any, NamedTuple

import msgspec

from metering_validator.domain.json_text import ABSENT, Json, JsonNumber, finite_number, parse, parsed


class UnreadableElementError(Exception):
    """The bytes are no element of a measurements request: not UTF-8, not JSON, or not of this shape."""


class Cells:
    """The entries of a measure, side by side."""

    __slots__ = ("_entries", "names", "numbers")

    def __init__(
        self, names: tuple[str | None, ...], numbers: list[float | None], entries: msgspec.Raw | list[Json]
    ) -> None:
        self.names = names
        """None where there is no text for a name."""
        self.numbers = numbers
        """None where what came is no finite JSON number."""
        self._entries = entries

    def came(self, place: int) -> Json:
        """Returns one value as it came, or the whole entry where it has no name: for the few that are looked at."""
        if isinstance(self._entries, msgspec.Raw):
            self._entries = _split(self._entries)
        entry = self._entries[place]
        name, value = named_value(parsed(entry) if isinstance(entry, msgspec.Raw) else entry)
        return entry if name is None else value


class ReceivedMeasure:
    """One moment as it came: its timestamp may be anything but missing, its entries are whatever the list holds."""

    __slots__ = ("_cells", "_entries", "_reader", "timestamp")

    def __init__(self, timestamp: Json, entries: msgspec.Raw | list[Json], reader: "EntriesReader") -> None:
        self.timestamp = timestamp
        self._entries = entries
        self._reader = reader
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
            self._cells = self._reader.read(self._entries)
        return self._cells


class EntriesReader:
    """Reads the entries of a record's measures, by the quickest of three ways that has not failed in this record.

    So a record pays at most once for an attempt that fails.
    """

    def __init__(self) -> None:
        self._ways = [_read_numbers, _read_values, _read_anything]

    def read(self, entries: msgspec.Raw | list[Json]) -> Cells:
        """Returns the cells of one measure."""
        if isinstance(entries, list):
            return _cells(entries)
        while True:
            try:
                return self._ways[0](entries)
            except (msgspec.DecodeError, RecursionError):
                del self._ways[0]


class ReceivedElement(NamedTuple):
    """One device's measures as they came."""

    device_number: str
    measures: list[ReceivedMeasure]
    at_most: int
    """No fewer than the element has values."""


class _NumberEntry(msgspec.Struct, gc=False, rename="camel"):
    sensor_name: str
    sensor_value: float


class _AnyEntry(msgspec.Struct, rename="camel"):
    sensor_name: str
    sensor_value: Any


class _Measure(msgspec.Struct, rename="camel"):
    timestamp: msgspec.Raw
    sensor_values: msgspec.Raw


class _Element(msgspec.Struct, rename="camel"):
    device_number: str
    measures: list[_Measure]


_element_decoder = msgspec.json.Decoder(_Element)
_numbers_decoder = msgspec.json.Decoder(list[_NumberEntry])
_values_decoder = msgspec.json.Decoder(list[_AnyEntry])
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
    reader = EntriesReader()
    measures = [
        ReceivedMeasure(_time(measure.timestamp), measure.sensor_values, reader) for measure in element.measures
    ]
    return ReceivedElement(element.device_number, measures, value.count(b",") + 1)


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
    reader = EntriesReader()
    read = [_read_measure(index, measure, reader) for index, measure in enumerate(measures)]
    return ReceivedElement(number, read, sum([measure.at_most() for measure in read]))


def _parse(text: str) -> Json:
    try:
        return parse(text)
    except ValueError as error:
        raise UnreadableElementError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise UnreadableElementError("nested too deep") from error


def _read_measure(index: int, measure: Json, reader: EntriesReader) -> ReceivedMeasure:
    if not isinstance(measure, dict):
        raise UnreadableElementError(f"measures/{index} is no JSON object")
    if "timestamp" not in measure:
        raise UnreadableElementError(f"measures/{index} has no timestamp")
    sensor_values = measure.get("sensorValues")
    if type(sensor_values) is not list:
        raise UnreadableElementError(f"measures/{index}/sensorValues is missing or no list")
    return ReceivedMeasure(measure["timestamp"], sensor_values, reader)


def _read_numbers(entries: msgspec.Raw) -> Cells:
    """Where every entry has a name and a finite number."""
    read = _numbers_decoder.decode(entries)
    return Cells(tuple([entry.sensor_name for entry in read]), [entry.sensor_value for entry in read], entries)


def _read_values(entries: msgspec.Raw) -> Cells:
    """Where every entry has a name and a value, of which msgspec can read the numbers."""
    read = _values_decoder.decode(entries)
    return Cells(tuple([entry.sensor_name for entry in read]), [_number(entry.sensor_value) for entry in read], entries)


def _read_anything(entries: msgspec.Raw) -> Cells:
    return _cells(parsed(entries))


def _cells(entries: list[Json]) -> Cells:
    try:
        names = tuple([entry["sensorName"] for entry in entries])
        values = [entry["sensorValue"] for entry in entries]
    except (TypeError, KeyError):
        pairs = [named_value(entry) for entry in entries]
        return Cells(tuple([pair[0] for pair in pairs]), [finite_number(pair[1]) for pair in pairs], entries)
    if not set(map(type, names)) <= {str}:
        names = tuple([name if type(name) is str else None for name in names])
    return Cells(names, _finite_numbers(values), entries)


def _finite_numbers(values: list[Json]) -> list[float | None]:
    if set(map(type, values)) != {JsonNumber} or "-0" in values:
        return [finite_number(value) for value in values]
    return [number if isfinite(number) else None for number in map(float, values)]


def named_value(entry: Json) -> tuple[str | None, Json]:
    """Returns an entry's name, None where there is no text for one, and its value, `ABSENT` where there is none."""
    if type(entry) is not dict:
        return None, entry
    name = entry.get("sensorName", ABSENT)
    return (name if type(name) is str else None), entry.get("sensorValue", ABSENT)


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
