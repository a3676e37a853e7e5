"""Which measures of the outbox travel together in one request, and the bytes of that request."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby

from metering_gateway.domain.measures import StoredMeasure

MAX_MEASURES = 100  # per request, all devices together (published)
SPAN_SECONDS = 86_400  # between the earliest and the latest timestamp of a request, ends included (published)
MAX_BODY_BYTES = 900_000  # of JSON; ingest-api takes 1 MiB after decompression


def pack(
    outbox: Iterable[StoredMeasure], max_measures: int = MAX_MEASURES, max_body_bytes: int = MAX_BODY_BYTES
) -> list[StoredMeasure]:
    """The next request's measures, in the order of the outbox.

    The oldest always goes. One that would stretch the request over a day is left for the next; since the span only
    grows, so is every later measure of that timestamp: two values for one key never change their order. At the first
    one that does not fit by size the request is closed, for the same reason.
    """
    packed: list[StoredMeasure] = []
    low = high = size = 0
    for measure in outbox:
        if packed:
            low_with, high_with = min(low, measure.timestamp), max(high, measure.timestamp)
            if high_with - low_with > SPAN_SECONDS:
                continue
            low, high = low_with, high_with
        else:
            low = high = measure.timestamp
        size += _size(measure)
        if packed and size > max_body_bytes:
            break
        packed.append(measure)
        if len(packed) == max_measures:
            break
    return packed


def device_numbers(measures: Sequence[StoredMeasure]) -> list[str]:
    """The device of each element of the request's list, in its order: what an answer's pointer `/2` points to."""
    return list(dict.fromkeys(measure.device_number for measure in measures))


def body(measures: Sequence[StoredMeasure]) -> bytes:
    """The published JSON, UTF-8: one element per device, its measures in the order of the outbox."""
    order = {number: index for index, number in enumerate(device_numbers(measures))}
    by_device = groupby(sorted(measures, key=lambda m: order[m.device_number]), key=lambda m: m.device_number)
    return f"[{','.join(_element(number, group) for number, group in by_device)}]".encode()


def halves(measures: Sequence[StoredMeasure]) -> tuple[Sequence[StoredMeasure], Sequence[StoredMeasure]]:
    middle = len(measures) // 2
    return measures[:middle], measures[middle:]


def _element(number: str, measures: Iterable[StoredMeasure]) -> str:
    listed = ",".join(f'{{"timestamp":{m.timestamp},"sensorValues":{m.sensor_values}}}' for m in measures)
    return f'{{"deviceNumber":{json.dumps(number, ensure_ascii=False)},"measures":[{listed}]}}'


def _size(measure: StoredMeasure) -> int:
    """An upper bound: each measure counted as if it stood in an element of its own."""
    return len(measure.sensor_values.encode()) + 6 * len(measure.device_number) + 80
