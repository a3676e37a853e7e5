"""What ingest-api refuses for the request as a whole once its shape is right: too many measures, too long a span."""

from collections.abc import Sequence

from metering_common.contract.limits import MAX_MEASURES, MAX_SPAN_SECONDS, MAX_VALUES, MILLISECONDS_FROM
from metering_common.http.problems import Fault, Problem
from metering_ingest_api.domain.elements import Document, Element


def check(document: Document) -> None:
    """Raises a 422 `Problem` (contracts/openapi/input.yaml). A timestamp that is no integer below 10^11 is a rule's."""
    elements, values = document
    measures = sum([len(element.timestamps) for element in elements])
    if measures > MAX_MEASURES:
        raise _too_many("measures", measures, MAX_MEASURES)
    if values > MAX_VALUES:
        raise _too_many("values", values, MAX_VALUES)
    _check_span(elements)


def _too_many(what: str, count: int, most: int) -> Problem:
    detail = f"{count} {what} in one request, at most {most} are taken: split it into several requests"
    return Problem(422, f"too_many_{what}", detail)


def _check_span(elements: Sequence[Element]) -> None:
    timestamps = [
        timestamp
        for element in elements
        for timestamp in element.timestamps
        if type(timestamp) is int and timestamp < MILLISECONDS_FROM
    ]
    if timestamps and max(timestamps) - min(timestamps) > MAX_SPAN_SECONDS:
        raise _span_too_long(elements, min(timestamps), max(timestamps))


def _span_too_long(elements: Sequence[Element], first: int, last: int) -> Problem:
    ends = {
        timestamp: f"/{element_number}/measures/{number}/timestamp"
        for element_number, element in enumerate(elements)
        for number, timestamp in enumerate(element.timestamps)
        if type(timestamp) is int and timestamp in (first, last)
    }
    return Problem(
        422,
        "span_too_long",
        f"the timestamps span {last - first} s, at most {MAX_SPAN_SECONDS} s are taken",
        errors=[Fault(ends[first], "the first of the span"), Fault(ends[last], "the last of the span")],
    )
