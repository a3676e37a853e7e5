"""The result on the worst mebibyte still fits its topic: docs/architecture.md, *Sizes*."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from validator_support.builders import NOW, context, element, measure, packed, raw_envelope

from metering_common.contract import topics
from metering_common.contract.envelope import ENVELOPE_BYTES, read_envelope
from metering_common.contract.messages import decode_validated
from metering_common.contract.metadata import EntryMetadata
from metering_validator.envelope_results import (
    LEAST_REFUSAL_BYTES,
    MOST_REFUSAL_BYTES,
    REFUSALS_PER_RAW_BYTE,
    validate_envelope,
    validated_record,
)

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


def two_rules(count: int) -> bytes:
    """The most that a raw byte can cost: short names that nobody knows, each with a value that no rule takes."""
    return element(*(measure("x", *((f"{m:x}{n:x}", "") for n in range(100))) for m in range(count)))


def validated(*values: bytes) -> tuple[bytes, list[Any]]:
    """What is sent for an envelope of these entries, and the entries."""
    record = raw_envelope(*(packed(value, item=item) for item, value in enumerate(values)))
    sent = validated_record(validate_envelope(read_envelope(record), lambda about: context(**asdict(about))))
    assert sent.value is not None
    back = read_envelope(record._replace(value=sent.value, headers=sent.headers))
    return sent.value, [decode_validated(entry.packed.value) for entry in back.entries]


def asdict(about: EntryMetadata) -> dict[str, Any]:
    return msgspec.structs.asdict(about)


LIMIT = topics.load_contracts()[topics.VALIDATED].max_message_bytes


@pytest.mark.parametrize("filling", FILLINGS.values(), ids=FILLINGS)
def test_the_result_on_the_worst_mebibyte_fits(filling: Filling) -> None:
    value, _ = validated(as_large_as_allowed(filling))
    assert len(value) < LIMIT - 100_000


def test_the_worst_request_of_many_elements_fits_and_every_value_is_counted() -> None:
    """A larger request alone: every element's refusals may take eight times its bytes."""
    element_of_many = two_rules(5)
    elements = [element_of_many] * (MEBIBYTE // len(element_of_many))
    value, results = validated(*elements)
    assert REFUSALS_PER_RAW_BYTE * MEBIBYTE + 2 * MEBIBYTE <= LIMIT
    assert len(value) < LIMIT - 100_000
    for result in results:
        assert result.counts.refused == 500
        assert len(json.dumps([refusal.rule for refusal in result.refusals])) > 2


def test_small_elements_that_fill_an_envelope_fit() -> None:
    small = element(measure("x", ("a", ""), ("b", ""), ("c", "")))
    count = ENVELOPE_BYTES // (len(small) + 350)
    value, results = validated(*[small] * count)
    assert len(value) < 4_000_000
    assert all(result.refusals_beyond == 0 for result in results)


@pytest.mark.parametrize("raw_bytes", [100, 50_000, MEBIBYTE])
def test_refusals_take_their_share_and_the_rest_is_counted(raw_bytes: int) -> None:
    share = min(MOST_REFUSAL_BYTES, max(LEAST_REFUSAL_BYTES, REFUSALS_PER_RAW_BYTE * raw_bytes))
    value = two_rules(max(1, raw_bytes // 4_000))
    _, [result] = validated(value)
    assert sum(len(msgspec.json.encode(refusal)) + 1 for refusal in result.refusals) <= max(share, 8 * len(value))
    assert len(result.refusals) > 0
