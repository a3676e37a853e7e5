"""Clock, batch id and rev: what puts a measure into time and order."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering_common.contract.batch_id import batch_time_ms, new_batch_id
from metering_common.contract.rev import http_rev, mapping_rev
from metering_common.service.clock import Clock, ManualClock, SystemClock

pytestmark = pytest.mark.fast

milliseconds = st.integers(0, 2**42)
random_bytes = st.binary(min_size=10, max_size=10)
uuids = st.uuids()
items = st.integers(0, 127)


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(1_000)
    before = clock.monotonic()
    clock.advance(2.5)
    assert clock.now_ms() == 3_500
    assert clock.monotonic() == before + 2.5


def test_the_system_clock_counts_milliseconds_since_1970_and_never_backwards() -> None:
    clock: Clock = SystemClock()
    assert clock.now_ms() > 1_700_000_000_000
    assert clock.monotonic() <= clock.monotonic()


@given(milliseconds, random_bytes)
def test_a_batch_id_is_a_version_7_uuid_that_tells_its_time(now_ms: int, randomness: bytes) -> None:
    batch_id = new_batch_id(now_ms, lambda size: randomness[:size])
    assert batch_id.version == 7
    assert batch_id.variant == "specified in RFC 4122"
    assert batch_time_ms(batch_id) == now_ms


@given(milliseconds, random_bytes, random_bytes)
def test_batch_ids_differ_where_their_randomness_does(now_ms: int, one: bytes, other: bytes) -> None:
    ids = {new_batch_id(now_ms, lambda _size, taken=taken: taken) for taken in (one, other)}  # type: ignore[misc]  # mypy cannot infer a lambda's default
    kept = {int.from_bytes(taken) & (2**74 - 1) for taken in (one, other)}
    assert len(ids) == len(kept)


def test_the_example_of_rfc_9562_comes_out() -> None:
    random = (0xCC3 << 62 | 0x18C4DC0C0C07398F).to_bytes(10)
    assert new_batch_id(0x017F22E279B0, lambda _size: random) == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")


@given(milliseconds, st.integers(1, 10**9), st.tuples(uuids, uuids), st.tuples(items, items))
def test_what_is_received_later_has_the_higher_rev(
    received_at_ms: int, later_by_ms: int, batches: tuple[UUID, UUID], numbers: tuple[int, int]
) -> None:
    earlier = http_rev(received_at_ms, batches[0], numbers[0])
    assert earlier < http_rev(received_at_ms + later_by_ms, batches[1], numbers[1])


@given(milliseconds, uuids, st.integers(0, 126))
def test_within_a_batch_the_later_item_wins(received_at_ms: int, batch_id: UUID, item: int) -> None:
    assert http_rev(received_at_ms, batch_id, item) < http_rev(received_at_ms, batch_id, item + 1)


@given(milliseconds, uuids, st.integers(0, 2**20 - 1))
def test_a_remap_beats_the_earlier_mapping_and_nothing_received_later(ms: int, batch_id: UUID, version: int) -> None:
    if version:
        assert mapping_rev(ms, version - 1) < mapping_rev(ms, version)
    assert mapping_rev(ms, version) < http_rev(ms + 1, batch_id, 0)


@given(uuids, st.integers(0, 127))
def test_a_rev_fits_a_bigint_for_ever(batch_id: UUID, item: int) -> None:
    end_of_2200 = 7_289_654_399_999
    assert http_rev(end_of_2200, batch_id, item) < 2**63


@pytest.mark.parametrize("item", [-1, 128])
def test_an_item_that_does_not_fit_is_refused(item: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        http_rev(0, UUID(int=0), item)


@pytest.mark.parametrize("version", [-1, 2**20])
def test_a_mapping_version_that_does_not_fit_is_refused(version: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        mapping_rev(0, version)
