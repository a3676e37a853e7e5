"""The result on the worst mebibyte still fits its topic: docs/architecture.md, *Sizes*."""

import json
from collections.abc import Callable

import pytest
from validator_support.builders import NOW, context, element, measure

from metering_common.contract import codec, topics
from metering_validator.domain.validation import validate
from metering_validator.record_results import LARGEST_VALUE_BYTES

pytestmark = pytest.mark.fast

MEBIBYTE = 1_048_576

Filling = Callable[[int], bytes]


def entries(*values: object) -> Filling:
    return lambda count: element(measure(NOW, *(values * count)))


def numbers(count: int) -> bytes:
    return element(*(measure(NOW - n, ("CB", -1.7976931348623157e308), ("Temperatura", 1e300)) for n in range(count)))


def many_names(count: int) -> bytes:
    """Every name, value and time as long as it is kept, of characters that are escaped twice."""
    wide = "\\" * 95
    return element(*(measure(wide, *((f"{m} {n}{wide}", wide) for n in range(50))) for m in range(count)))


def as_large_as_allowed(filling: Filling) -> bytes:
    per_piece = (len(filling(20)) - len(filling(10))) / 10
    value = filling(int((MEBIBYTE - 1_000) / per_piece))
    assert 0.95 * MEBIBYTE < len(value) <= MEBIBYTE
    return value


FILLINGS = {"names": many_names, "objects": entries({}), "nulls": entries(("CB", None)), "numbers": numbers}


@pytest.mark.parametrize("filling", FILLINGS.values(), ids=FILLINGS)
def test_the_result_on_the_worst_mebibyte_fits(filling: Filling) -> None:
    result = validate(as_large_as_allowed(filling), context())
    limit = topics.load_contracts()[topics.VALIDATED].max_message_bytes
    assert len(codec.encode(result.validated)) < LARGEST_VALUE_BYTES < limit - 100_000
    assert len(codec.encode(result.outcome)) < LARGEST_VALUE_BYTES
    json.loads(codec.encode(result.validated))
