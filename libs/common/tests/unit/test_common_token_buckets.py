"""Token buckets: how much, how soon again, and what is forgotten when there are too many."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering_common.http.token_buckets import Rate, TokenBuckets

pytestmark = pytest.mark.fast


def attempt(buckets: TokenBuckets[str], key: str, now: float) -> int:
    if not (seconds := buckets.seconds_to_wait(key, now)):
        buckets.take(key, now)
    return seconds


def test_a_burst_may_come_at_once_and_then_one_by_one() -> None:
    buckets = TokenBuckets[str](Rate(0.1, 6), 10)
    assert [attempt(buckets, "a", 0.0) for _ in range(6)] == [0] * 6
    assert attempt(buckets, "a", 0.0) == 10
    assert attempt(buckets, "a", 9.0) == 1
    assert attempt(buckets, "a", 10.0) == 0


def test_a_refused_attempt_does_not_make_the_wait_longer() -> None:
    buckets = TokenBuckets[str](Rate(1 / 60, 1), 10)
    assert attempt(buckets, "a", 0.0) == 0
    assert {attempt(buckets, "a", 30.0) for _ in range(100)} == {30}
    assert attempt(buckets, "a", 60.0) == 0


def test_one_keys_tokens_are_nothing_to_another() -> None:
    buckets = TokenBuckets[str](Rate(1, 1), 10)
    assert [attempt(buckets, key, 0.0) for key in "ab"] == [0, 0]


def test_a_bucket_may_be_overdrawn_and_must_recover() -> None:
    buckets = TokenBuckets[str](Rate(10, 30), 10)
    buckets.take("a", 0.0, 130)
    assert buckets.seconds_to_wait("a", 0.0) == 11
    assert buckets.seconds_to_wait("a", 9.0) == 2
    assert buckets.seconds_to_wait("a", 10.1) == 0
    assert buckets.seconds_to_wait("a", 10.1, 30) == 3
    assert buckets.seconds_to_wait("a", 1_000.0, 30) == 0


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    buckets = TokenBuckets[str](Rate(1 / 30, 2), 10)
    assert [attempt(buckets, "a", now) for now in (100.0, 50.0)] == [0, 0]
    assert attempt(buckets, "a", 50.0) > 0


def test_the_fullest_is_forgotten_first_whenever_it_was_used() -> None:
    buckets = TokenBuckets[str](Rate(1, 100), 2)
    buckets.take("noisy", 0.0, 100)
    buckets.take("quiet", 1.0, 1)
    buckets.take("third", 1.0, 1)
    assert len(buckets) == 2
    assert buckets.seconds_to_wait("noisy", 1.0) == 0  # one token came back in this second
    assert buckets.seconds_to_wait("noisy", 1.0, 2) == 1


def test_a_noisy_key_stays_known_among_more_keys_than_are_remembered() -> None:
    buckets = TokenBuckets[str](Rate(1, 10), 50)
    taken = 0
    for number in range(5_000):
        now = number / 100
        taken += attempt(buckets, "noisy", now) == 0
        attempt(buckets, f"other {number}", now)
    assert taken <= 10 + 50
    assert len(buckets) == len(buckets._by_full_at) == 50


@settings(max_examples=50, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 30), st.floats(0, 2)), max_size=200), st.integers(1, 12))
def test_nobody_gets_more_than_burst_and_rate_while_all_are_remembered(
    steps: list[tuple[int, int, float]], capacity: int
) -> None:
    rate = Rate(5, 20)
    buckets = TokenBuckets[int](rate, capacity)
    now, got = 0.0, dict.fromkeys(range(10), 0)
    for key, amount, pause in steps:
        now += pause
        if not buckets.seconds_to_wait(key, now, amount):
            buckets.take(key, now, amount)
            got[key] += amount
        assert len(buckets) <= capacity
    if capacity > len(got):
        assert max(got.values()) <= rate.burst + rate.per_second * now + 1e-6
