"""Samples become elements of `measurements.raw.v1`: what a gateway would have sent, at most 100 measures of one day."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, Inexact, Overflow
from typing import NamedTuple

from metering_ecl_poller.domain.mapping import Wire
from metering_ecl_poller.domain.units import converted
from metering_ecl_poller.portal.models import Sample

MAX_MEASURES = 100
MAX_SPAN_SECONDS = 86_400
MAX_PLAIN_DIGITS = 40  # a number of more places is written with an exponent


class Element(NamedTuple):
    """One record's value. `doubtful`: its time stamps come from a clock that is wrong."""

    body: bytes
    doubtful: bool
    measures: int
    values: int


def to_elements(
    number: str, samples: Iterable[Sample], wires: dict[str, Wire], doubtful: frozenset[int]
) -> list[Element]:
    """In the order of time; good and doubtful clocks apart; channels without a wire are left out.

    `doubtful`: the received times whose samples are so (see clock_check.py). A fraction of a second is cut off.
    """
    rows: dict[tuple[bool, int], list[tuple[str, str]]] = {}
    for sample in samples:
        if sample.channel in wires:
            wire = wires[sample.channel]
            row = rows.setdefault((sample.received_ms in doubtful, sample.timestamp_ms // 1_000), [])
            row.append((wire.sensor, json_value(sample, wire.factor)))
    ordered = sorted(rows)
    return [_element(number, [(key[1], rows[key]) for key in keys], keys[0][0]) for keys in _packed(ordered)]


def _packed(keys: list[tuple[bool, int]]) -> Iterator[list[tuple[bool, int]]]:
    pack: list[tuple[bool, int]] = []
    for key in keys:
        full = len(pack) == MAX_MEASURES or (pack and key[1] - pack[0][1] > MAX_SPAN_SECONDS)
        if full or (pack and key[0] != pack[0][0]):
            yield pack
            pack = []
        pack.append(key)
    if pack:
        yield pack


def _element(number: str, measures: list[tuple[int, list[tuple[str, str]]]], doubtful: bool) -> Element:  # noqa: FBT001  named by its type at the one call
    """Values are written as text into the JSON: a float would round what the portal said."""
    texts = [f'{{"timestamp":{stamp},"sensorValues":[{",".join(map(_value_text, row))}]}}' for stamp, row in measures]
    body = f'{{"deviceNumber":{_text(number)},"measures":[{",".join(texts)}]}}'
    return Element(body.encode(), doubtful, len(measures), sum(len(row) for _, row in measures))


def _value_text(pair: tuple[str, str]) -> str:
    return f'{{"sensorName":{_text(pair[0])},"sensorValue":{pair[1]}}}'


def json_value(sample: Sample, by: Decimal) -> str:
    """A number times the factor, exactly; anything else as JSON, untouched, for the validator to refuse by rule."""
    if not isinstance(sample.value, Decimal):
        return _text(sample.value)
    try:
        product = converted(sample.value, by)
    except (Inexact, Overflow):
        return _text(str(sample.value))
    return format(product, "f") if abs(product.adjusted()) < MAX_PLAIN_DIGITS else str(product)


def _text(value: object) -> str:
    """ASCII-escaped: a lone surrogate from the portal cannot break the record."""
    return json.dumps(value, default=str, allow_nan=False)
