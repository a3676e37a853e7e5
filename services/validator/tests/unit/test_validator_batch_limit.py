"""A batch is full by its records or by its bytes, as Faust's own comparison sees it."""

from typing import NamedTuple, cast

import pytest
from faust.types import EventT

from metering_validator.adapters.batch_limit import BatchLimit

pytestmark = pytest.mark.fast


class Came(NamedTuple):
    value: bytes | None


def batch(*sizes: int | None) -> list[EventT[bytes]]:
    return cast("list[EventT[bytes]]", [Came(None if size is None else bytes(size)) for size in sizes])


def is_full(limit: BatchLimit, *sizes: int | None) -> bool:
    events = batch(*sizes)
    for event in events:
        assert limit.came(event.value) is event.value
    full = len(events) >= limit
    limit.taken(events)
    return full


def test_small_records_fill_it_by_their_number() -> None:
    limit = BatchLimit(3, 100)
    assert [is_full(limit, 1, None), is_full(limit, 1, None, 1)] == [False, True]


def test_large_records_fill_it_by_their_bytes_and_each_batch_begins_again() -> None:
    limit = BatchLimit(3, 100)
    assert [is_full(limit, 99), is_full(limit, 60, 40), is_full(limit, 99)] == [False, True, False]


def test_what_came_while_a_batch_was_validated_counts_for_the_next() -> None:
    limit = BatchLimit(3, 100)
    taken = batch(60)
    limit.came(bytes(60))
    limit.came(bytes(60))
    limit.taken(taken)
    assert not limit <= 1
    limit.came(bytes(40))
    assert limit <= 2
