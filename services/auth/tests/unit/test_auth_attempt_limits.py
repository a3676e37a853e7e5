"""Who pays for an attempt, and how many anybody may make."""

import pytest

from metering_auth.domain.limits import AttemptLimits, TooManyAttemptsError, per_minute, whose

pytestmark = pytest.mark.fast


def test_an_address_pays_for_failures_only_and_a_token_for_itself() -> None:
    limits = AttemptLimits(per_minute(2), per_minute(2))
    for _ in range(100):
        limits.check_address("192.0.2.1", 0.0)
    for _ in range(2):
        limits.count_failure("192.0.2.1", 0.0)
    with pytest.raises(TooManyAttemptsError) as caught:
        limits.check_address("192.0.2.1", 0.0)
    assert (caught.value.payer, caught.value.retry_after_seconds) == ("address", 30)
    limits.count_failure("192.0.2.2", 0.0)
    for _ in range(2):
        limits.count_token(b"a", 0.0)
    with pytest.raises(TooManyAttemptsError, match="one token"):
        limits.count_token(b"a", 0.0)
    limits.count_token(b"b", 0.0)


def test_a_gateway_has_its_attempts_whatever_tokens_it_uses() -> None:
    limits = AttemptLimits(per_minute(2), per_minute(2))
    limits.count_gateway(7, 0.0)
    limits.count_gateway(7, 0.0)
    with pytest.raises(TooManyAttemptsError, match="one gateway"):
        limits.count_gateway(7, 29.0)
    limits.count_gateway(8, 29.0)
    limits.count_gateway(7, 30.0)


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
