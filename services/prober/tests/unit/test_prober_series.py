"""The known series and what is said of it: pure."""

import itertools
from uuid import UUID

import pytest

from metering_common.contract.batch_id import new_batch_id
from metering_prober.domain.batch_ids import STAND_INS_END, first_of
from metering_prober.domain.series import HIGHEST, Stored, compare, next_instant, value_at

pytestmark = pytest.mark.fast
NOW = 1_795_000_020


def right(*instants: int) -> dict[int, Stored]:
    return {instant: Stored(value_at(instant), 0) for instant in instants}


def test_each_instant_has_one_plausible_value_and_neighbours_differ() -> None:
    values = [value_at(NOW + 30 * step) for step in range(2_880)]
    assert all(0 <= value < HIGHEST for value in values)
    assert len(set(values)) > 2_700
    assert all(before != after for before, after in itertools.pairwise(values))


def test_a_restarted_prober_goes_on_with_the_same_instants() -> None:
    assert [next_instant(now, 30) for now in (NOW - 0.1, NOW, NOW + 29.9)] == [NOW, NOW + 30, NOW + 30]


def test_what_was_accepted_and_overtaken_is_missing_and_what_is_still_under_way_is_not() -> None:
    broken = compare({NOW, NOW + 30, NOW + 60}, right(NOW + 30))
    assert broken.missing == {NOW}
    assert not broken.wrong


def test_another_value_another_quality_and_another_instants_value_are_wrong() -> None:
    stored = right(NOW) | {
        NOW + 30: Stored(value_at(NOW + 30) + 0.001, 0),
        NOW + 60: Stored(value_at(NOW + 60), 1),
        NOW + 90: Stored(value_at(NOW), 0),
    }
    assert compare({NOW}, stored).wrong == {NOW + 30, NOW + 60, NOW + 90}


def test_what_landed_though_its_answer_was_lost_is_no_fault() -> None:
    assert not any(compare(set(), right(NOW, NOW + 30)))


def test_a_batch_id_is_not_lower_than_the_first_of_its_millisecond() -> None:
    at_ms = NOW * 1_000
    made = new_batch_id(at_ms)
    assert first_of(at_ms) <= made < first_of(at_ms + 1)
    stand_in = UUID(int=47 << 96 | 8 << 76)
    assert stand_in < STAND_INS_END < first_of(at_ms)
