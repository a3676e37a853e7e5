"""What becomes of a known token: each rule of the rotation, at its edge."""

from datetime import UTC, datetime, timedelta

import pytest

from metering_auth.domain.rotation import GRACE, REPEAT_WINDOW, KnownToken, Owner, Step, next_step

pytestmark = pytest.mark.fast

NOW = datetime(2026, 3, 11, 15, 5, 18, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
OWNER = Owner(family_revoked=False, active=True, revoked_at=None)


def token(
    *,
    issued: timedelta = timedelta(hours=1),
    expires: timedelta = timedelta(days=60),
    superseded: timedelta | None = None,
    successor: timedelta | None = None,
) -> KnownToken:
    """Ages, seen from now."""
    return KnownToken(
        issued_at=NOW - issued,
        expires_at=NOW + expires,
        superseded_at=None if superseded is None else NOW - superseded,
        successor_at=None if successor is None else NOW - successor,
    )


def test_a_token_without_successor_gets_one() -> None:
    assert next_step(token(), OWNER, NOW) is Step.ISSUE


def test_within_60_seconds_the_same_successor_is_repeated() -> None:
    assert next_step(token(successor=REPEAT_WINDOW), OWNER, NOW) is Step.REPEAT


def test_after_60_seconds_another_successor_is_issued() -> None:
    assert next_step(token(successor=REPEAT_WINDOW + MOMENT), OWNER, NOW) is Step.ISSUE


def test_a_superseded_token_is_only_refused_for_10_minutes() -> None:
    assert next_step(token(superseded=GRACE), OWNER, NOW) is Step.SUPERSEDED


def test_a_superseded_token_is_a_reuse_after_10_minutes() -> None:
    assert next_step(token(superseded=GRACE + MOMENT), OWNER, NOW) is Step.REUSED


def test_once_superseded_the_window_of_60_seconds_is_over() -> None:
    recent = timedelta(seconds=1)
    assert next_step(token(superseded=recent, successor=recent), OWNER, NOW) is Step.SUPERSEDED


def test_an_expired_token_is_told_so_and_is_no_reuse() -> None:
    assert next_step(token(expires=timedelta(0), superseded=timedelta(days=1)), OWNER, NOW) is Step.EXPIRED


def test_a_revoked_family_refuses_its_live_token() -> None:
    assert next_step(token(), Owner(family_revoked=True, active=True, revoked_at=None), NOW) is Step.FAMILY_REVOKED


@pytest.mark.parametrize(("later_seconds", "step"), [(0, Step.REVOKED), (-1, Step.ISSUE), (1, Step.REVOKED)])
def test_a_token_of_the_second_of_a_revocation_or_before_is_void(later_seconds: int, step: Step) -> None:
    issued = NOW.replace(microsecond=999_999)
    known = KnownToken(issued, NOW + timedelta(days=1), None, None)
    owner = Owner(family_revoked=False, active=True, revoked_at=int(NOW.timestamp()) + later_seconds)
    assert next_step(known, owner, NOW + timedelta(hours=1)) is step


def test_while_disabled_nothing_is_issued_and_nothing_is_a_reuse() -> None:
    disabled = Owner(family_revoked=False, active=False, revoked_at=None)
    assert next_step(token(superseded=timedelta(days=1)), disabled, NOW) is Step.DISABLED
