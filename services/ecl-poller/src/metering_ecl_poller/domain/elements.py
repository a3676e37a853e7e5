"""Samples become elements of `measurements.raw.v1`: what a gateway would have sent, at most 100 measures of one day."""

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, Inexact, Overflow
from typing import NamedTuple

from metering_common.contract.limits import MAX_MEASURES, MAX_SPAN_SECONDS
from metering_ecl_poller.domain.clock_check import Doubtful
from metering_ecl_poller.domain.mapping import ChannelRoute
from metering_ecl_poller.domain.portal.models import Sample, Value
from metering_ecl_poller.domain.trust import is_ahead

MAX_PLAIN_DIGITS = 40  # a number of more places is written with an exponent


class PortalElement(NamedTuple):
    """One record's value. `doubtful`: its time stamps come from a clock that is wrong. `answered_ms`: when it came."""

    body: bytes
    doubtful: bool
    answered_ms: int
    measures: int
    values: int


class _Key(NamedTuple):
    """What the measures of one element share, and the time stamp by which they differ."""

    answered_ms: int
    doubtful: bool
    timestamp: int


def to_elements(
    number: str, samples: Iterable[Sample], routes: dict[str, ChannelRoute], doubtful: Doubtful
) -> list[PortalElement]:
    """In the order of time; answers apart, good and doubtful clocks apart; channels without a wire are left out.

    A fraction of a second is cut off.
    """
    rows: dict[_Key, list[tuple[str, str]]] = {}
    for sample in samples:
        if sample.channel in routes and not is_ahead(sample):
            route = routes[sample.channel]
            doubt = (sample.received_ms, sample.timestamp_ms) in doubtful
            key = _Key(sample.answered_ms, doubt, sample.timestamp_ms // 1_000)
            rows.setdefault(key, []).append((route.sensor, json_value(sample.value, route)))
    return [_element(number, {key: rows[key] for key in keys}) for keys in _packed(sorted(rows))]


def _packed(keys: list[_Key]) -> Iterator[list[_Key]]:
    pack: list[_Key] = []
    for key in keys:
        if pack and (len(pack) == MAX_MEASURES or not _fits(pack[0], key)):
            yield pack
            pack = []
        pack.append(key)
    if pack:
        yield pack


def _fits(first: _Key, key: _Key) -> bool:
    return key[:2] == first[:2] and key.timestamp - first.timestamp <= MAX_SPAN_SECONDS


def _element(number: str, rows: dict[_Key, list[tuple[str, str]]]) -> PortalElement:
    """Values are written as text into the JSON: a float would round the portal's value."""
    first = next(iter(rows))
    measures = [
        f'{{"timestamp":{key.timestamp},"sensorValues":[{",".join(map(_value_text, row))}]}}'
        for key, row in rows.items()
    ]
    body = f'{{"deviceNumber":{_text(number)},"measures":[{",".join(measures)}]}}'
    return PortalElement(body.encode(), first.doubtful, first.answered_ms, len(rows), sum(map(len, rows.values())))


def _value_text(pair: tuple[str, str]) -> str:
    return f'{{"sensorName":{_text(pair[0])},"sensorValue":{pair[1]}}}'


def json_value(value: Value, route: ChannelRoute) -> str:
    """Returns a number in the sensor's unit, exactly; anything else as JSON, untouched, for the validator to refuse."""
    try:
        number = route.number(value)
    except (Inexact, Overflow):
        return _text(str(value))
    if not isinstance(number, Decimal):
        return _text(number)
    return format(number, "f") if abs(number.adjusted()) < MAX_PLAIN_DIGITS else str(number)


def _text(value: object) -> str:
    """ASCII-escaped: a lone surrogate from the portal cannot break the record."""
    return json.dumps(value, default=str, allow_nan=False)
