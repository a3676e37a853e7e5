"""ingest-api's first look at a measurements request: split into one element per device, decoded no deeper than needed.

What stands in `sensorValues` stays the bytes it came as. The strictness here is the validator's too: whatever this
module accepts can be read in full with the standard library's `json`, from UTF-8, without lone surrogates, at most 16
levels deep and with numbers of at most 400 characters.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import msgspec
from msgspec import Raw

from metering_common.contract.limits import MAX_NESTING

MAX_NUMBER_CHARACTERS = 400
MAX_UNCOUNTED = 40_000
"""What may stand in `sensorValues` beside objects of two members, so that it is counted one by one."""
MAX_STANDARD_BYTES = 262_144
STANDARD_PRICE = 16
"""The standard library's decoder takes so many times as long as the fast one, and holds up the loop."""

_WHITESPACE = b" \t\r\n"
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_SQUARED = bytes.maketrans(b"{}", b"[]")
_NOT_STRUCTURE = bytes(set(range(256)) - set(b"[{}:,"))
_VALUE = b"{:,:}"
_STRIDE = MAX_NUMBER_CHARACTERS // 2
_NUMERIC = b"0123456789+-.eE"
_NUMERIC_AS_1 = bytes(ord("1") if byte in _NUMERIC else ord("0") for byte in range(256))
_TWO_NUMERIC = re.compile(b"(?=11)")
_LONG_NUMBER = re.compile(rb"[0-9+\-.eE]{%d}" % (MAX_NUMBER_CHARACTERS + 1))
_PATH_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class MalformedBodyError(ValueError):
    """The bytes are no JSON that the platform reads; the message says why. HTTP 400."""


class ShapeError(ValueError):
    """Right JSON of the wrong shape; `pointer` is the JSON Pointer (RFC 6901) to the place. HTTP 422."""

    def __init__(self, detail: str, pointer: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer


class Element(NamedTuple):
    """One device's element of a request."""

    device_number: str
    timestamps: list[Any]
    """One per measure, in the document's order: any JSON value, the rules validate them."""
    value: bytes
    """The element's own bytes, as received."""


class Document(NamedTuple):
    """A request's body, one element per device in the request's order."""

    elements: list[Element]
    values: int
    """How many entries all its `sensorValues` have."""


class _Measure(msgspec.Struct, gc=False, rename="camel"):
    timestamp: Any
    sensor_values: Raw


class _Element(msgspec.Struct, gc=False, rename="camel"):
    device_number: str
    measures: list[_Measure]


_elements = msgspec.json.Decoder(list[_Element])
_raw_elements = msgspec.json.Decoder(list[Raw])
_raw_values = msgspec.json.Decoder(list[Raw])
_syntax = msgspec.json.Decoder(Raw)
_standard = json.JSONDecoder()


def split(body: bytes, charge: Callable[[int], None]) -> Document:
    """Returns the request's elements; raises `MalformedBodyError` or `ShapeError`.

    `charge` is called with a number of bytes before work that costs as much as so many more. One scan decodes, and a
    second one cuts where there are several elements; a single one is the body less its brackets. Of equal keys in an
    object the last counts, as everywhere.
    """
    text = _as_text(body)
    try:
        elements = _elements.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        if len(body) > MAX_STANDARD_BYTES:
            _refuse_large(body, error)
        charge((STANDARD_PRICE - 1) * len(body))
        return _split_by_standard(body, text)
    structure = body.translate(None, _NOT_STRUCTURE)
    if _may_be_too_deep(structure, elements) or _may_hold_long_number(body):
        check_limits(body)
    _check_shape(elements)
    return Document(_as_elements(elements, _cut(body, len(elements))), _count_values(structure, elements))


def _split_by_standard(body: bytes, text: str) -> Document:
    """For what the fast decoder refuses: bare NaN and Infinity are taken, lone surrogates and the rest are not."""
    check_limits(body)
    try:
        _syntax.decode(body)
    except msgspec.DecodeError:
        document = _standard_document(text)
    else:
        document = json.loads(text)
    try:
        elements = msgspec.convert(_with_raw_values(document), list[_Element])
    except msgspec.ValidationError as error:
        _raise_shape_error(error)
    _check_shape(elements)
    values = sum([len(measure["sensorValues"]) for element in document for measure in element["measures"]])
    return Document(_as_elements(elements, _cut_text(text)), values)


def check_limits(body: bytes) -> None:
    """Raises `MalformedBodyError` for nesting over 16 or a number of over 400 characters, outside of strings.

    Every step is one scan in C, so that no body makes it slow.
    """
    outside_strings = _without_strings(body)
    brackets = outside_strings.translate(_SQUARED, _NOT_BRACKETS)
    for _ in range(MAX_NESTING):
        brackets = brackets.replace(b"[]", b"")
    if brackets:
        raise MalformedBodyError(f"brackets do not match or nest deeper than {MAX_NESTING} levels")
    if _LONG_NUMBER.search(outside_strings):
        raise MalformedBodyError(f"a number has more than {MAX_NUMBER_CHARACTERS} characters")


def _as_text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise MalformedBodyError(f"the body is not UTF-8 at byte {error.start}") from error


def _without_strings(body: bytes) -> bytes:
    """What stands between strings: escapes go first, then every second piece between quotation marks."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    return b'"'.join(unescaped.split(b'"')[::2])


def _may_be_too_deep(structure: bytes, elements: list[_Element]) -> bool:
    """No means no: with only the arrays that the shape has, and no object as a member's value, the depth is six."""
    arrays = 1 + len(elements) + sum([len(element.measures) for element in elements])
    return structure.count(b"[") != arrays or b":{" in structure


def _refuse_large(body: bytes, error: Exception) -> NoReturn:
    """For a body that only the standard decoder might read, and that is too large for it."""
    check_limits(body)
    try:
        _syntax.decode(body)
    except msgspec.DecodeError as malformed:
        error = malformed
    if isinstance(error, msgspec.ValidationError):
        _raise_shape_error(error)
    detail = f"not JSON: {error}; NaN and Infinity are read in bodies of up to {MAX_STANDARD_BYTES} bytes"
    raise MalformedBodyError(detail) from error


def _count_values(structure: bytes, elements: list[_Element]) -> int:
    """Returns how many values there are, or what there is too much of, if it is more than `MAX_UNCOUNTED`.

    In the usual body each value is an object of two members, which is seen from brackets, colons and commas alone: the
    other commas then stand between values, between measures and elements, and within these. Any other body is counted
    value by value. Strings that hold brackets make the count larger; at worst every second value is hidden by them.
    """
    measures = [measure for element in elements for measure in element.measures]
    values = structure.count(_VALUE)
    others = structure.count(b",") - values
    if others == values + len(measures) + len(elements) - 1:
        return values
    if others > MAX_UNCOUNTED:
        return others
    return sum([len(_raw_values.decode(measure.sensor_values)) for measure in measures])


def _may_hold_long_number(body: bytes) -> bool:
    """No means no: a run of over 400 characters covers two neighbours of every 200th byte, and all between them."""
    samples = body[::_STRIDE].translate(_NUMERIC_AS_1)
    if b"11" not in samples:
        return False
    stretches = (match.start() * _STRIDE for match in _TWO_NUMERIC.finditer(samples))
    return any(not body[start : start + _STRIDE].strip(_NUMERIC) for start in stretches)


def _cut(body: bytes, count: int) -> list[bytes]:
    if count == 1:
        return [body.strip(_WHITESPACE)[1:-1].strip(_WHITESPACE)]
    return [bytes(raw) for raw in _raw_elements.decode(body)]


def _check_shape(elements: list[_Element]) -> None:
    """The rest of the shape: nothing is empty but `sensorValues`, and that is an array."""
    if not elements:
        raise ShapeError("the list of devices is empty", "")
    for number, element in enumerate(elements):
        _check_measures(element.measures, f"/{number}/measures")


def _as_elements(elements: list[_Element], parts: list[bytes]) -> list[Element]:
    return [
        Element(element.device_number, [measure.timestamp for measure in element.measures], part)
        for element, part in zip(elements, parts, strict=True)
    ]


def _check_measures(measures: list[_Measure], pointer: str) -> None:
    if not measures:
        raise ShapeError("the list of measures is empty", pointer)
    for number, measure in enumerate(measures):
        if memoryview(measure.sensor_values)[0] != ord("["):
            raise ShapeError("expected an array", f"{pointer}/{number}/sensorValues")


def _standard_document(text: str) -> Any:
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise MalformedBodyError("a string holds half of a surrogate pair") from error
    except ValueError as error:
        raise MalformedBodyError(f"not JSON: {error}") from error
    return document


def _with_raw_values(document: Any) -> Any:
    """Each `sensorValues` becomes the `Raw` that the fast decoder would have left, of which only the kind counts."""
    if not isinstance(document, list):
        return document
    return [
        element | {"measures": [_with_raw_value(measure) for measure in element["measures"]]}
        if isinstance(element, dict) and isinstance(element.get("measures"), list)
        else element
        for element in document
    ]


def _with_raw_value(measure: Any) -> Any:
    if not isinstance(measure, dict) or "sensorValues" not in measure:
        return measure
    return measure | {"sensorValues": Raw(b"[" if isinstance(measure["sensorValues"], list) else b"0")}


def _cut_text(text: str) -> list[bytes]:
    """Each element of a document that is known to be a list of objects."""
    values = []
    position = text.index("[") + 1
    while (start := text.find("{", position)) != -1:
        _, position = _standard.raw_decode(text, start)
        values.append(text[start:position].encode())
    return values


def _raise_shape_error(error: msgspec.ValidationError) -> NoReturn:
    """The place, which msgspec tells as `$[0].measures[3]`, as a pointer."""
    detail, _, path = str(error).partition(" - at `$")
    pointer = "".join(f"/{name or index}" for name, index in _PATH_STEP.findall(path.rstrip("`")))
    raise ShapeError(detail.replace("`", "").replace("Expected", "expected"), pointer) from error
