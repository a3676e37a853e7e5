"""How many attempts one address or one gateway may make."""

import pytest

from metering_auth.domain.limits import AttemptLimit, Rate, whose

pytestmark = pytest.mark.fast


def test_a_minutes_attempts_may_come_at_once_and_then_one_by_one() -> None:
    limit = AttemptLimit(Rate(per_minute=6))
    assert [limit.seconds_to_wait("a", 0.0) for _ in range(6)] == [0] * 6
    assert limit.seconds_to_wait("a", 0.0) == 10
    assert limit.seconds_to_wait("a", 9.0) == 1
    assert limit.seconds_to_wait("a", 10.0) == 0


def test_a_refused_attempt_does_not_make_the_wait_longer() -> None:
    limit = AttemptLimit(Rate(per_minute=1))
    assert limit.seconds_to_wait("a", 0.0) == 0
    assert {limit.seconds_to_wait("a", 30.0) for _ in range(100)} == {30}
    assert limit.seconds_to_wait("a", 60.0) == 0


def test_one_keys_attempts_are_nothing_to_another() -> None:
    limit = AttemptLimit(Rate(per_minute=1))
    assert limit.seconds_to_wait("a", 0.0) == 0
    assert limit.seconds_to_wait("b", 0.0) == 0


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    limit = AttemptLimit(Rate(per_minute=2))
    assert limit.seconds_to_wait("a", 100.0) == 0
    assert limit.seconds_to_wait("a", 50.0) == 0
    assert limit.seconds_to_wait("a", 50.0) > 0


def test_the_longest_unused_are_forgotten_first() -> None:
    limit = AttemptLimit(Rate(per_minute=1), max_buckets=2)
    for key in ("a", "b", "c"):
        limit.seconds_to_wait(key, 0.0)
    assert limit.seconds_to_wait("c", 0.0) > 0
    assert limit.seconds_to_wait("a", 0.0) == 0


@pytest.mark.parametrize(
    ("address", "counted_under"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv6_network_is_counted_as_one(address: str, counted_under: str) -> None:
    assert whose(address) == counted_under
