"""What ingest-api refuses for the request as a whole once its shape is right: too many measures, too long a span."""

from collections.abc import Sequence

from metering_common.contract.limits import MAX_MEASURES, MAX_SPAN_SECONDS, MILLISECONDS_FROM
from metering_ingest_api.domain.elements import Element
from metering_ingest_api.domain.problems import Fault, Problem


def check(elements: Sequence[Element]) -> None:
    """Raises a 422 `Problem` (contracts/openapi/input.yaml). A timestamp that is no integer below 10^11 is a rule's."""
    measures = sum([len(element.timestamps) for element in elements])
    if measures > MAX_MEASURES:
        raise Problem(422, "too_many_measures", f"{measures} measures in one request, at most {MAX_MEASURES} are taken")
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
