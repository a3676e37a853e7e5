"""A key's way through its states: what the schedule demands, and until when its signatures are trusted."""

from datetime import UTC, datetime, timedelta

import pytest

from metering_auth.domain.keys import (
    IN_FLIGHT,
    PRIVATE_PART_KEPT,
    Activate,
    ForgetPrivatePart,
    KeyStanding,
    KeyTimes,
    Publish,
    Retire,
    due_steps,
)
from metering_common.registry.documents import KeyState

pytestmark = pytest.mark.fast

NOW = datetime(2026, 3, 11, 15, 5, 18, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)
TIMES = KeyTimes(
    publish=timedelta(minutes=5),
    active=timedelta(days=30),
    access_lifetime=timedelta(hours=3),
    refresh_lifetime=timedelta(days=60),
)


def key(
    state: KeyState,
    *,
    announced: timedelta | None = timedelta(days=1),
    active: timedelta | None = timedelta(days=1),
    retiring: timedelta | None = None,
    private: bool = True,
) -> KeyStanding:
    """Ages, seen from now."""
    return KeyStanding(
        kid=state.value,
        state=state,
        announced_at=None if announced is None else NOW - announced,
        active_at=None if active is None else NOW - active,
        retiring_at=None if retiring is None else NOW - retiring,
        has_private_part=private,
    )


ACTIVE = key(KeyState.ACTIVE)


def test_nothing_is_due_while_the_active_key_is_young() -> None:
    assert due_steps([ACTIVE], TIMES, NOW) == []


def test_a_new_key_is_published_when_the_active_one_is_old() -> None:
    assert due_steps([key(KeyState.ACTIVE, active=TIMES.active)], TIMES, NOW) == [Publish()]


def test_no_second_key_is_published_while_one_waits() -> None:
    waiting = key(KeyState.PUBLISHED, announced=None, active=None)
    assert due_steps([key(KeyState.ACTIVE, active=timedelta(days=90)), waiting], TIMES, NOW) == []


@pytest.mark.parametrize(
    ("announced", "due"),
    [(None, []), (TIMES.publish - MOMENT, []), (TIMES.publish, [Activate("published")])],
)
def test_a_key_signs_only_after_it_was_long_enough_on_the_topic(
    announced: timedelta | None, due: list[Activate]
) -> None:
    assert due_steps([ACTIVE, key(KeyState.PUBLISHED, announced=announced, active=None)], TIMES, NOW) == due


@pytest.mark.parametrize("state", [KeyState.RETIRING, KeyState.WITHDRAWN])
def test_an_ending_key_forgets_its_private_part_and_ends_with_its_last_refresh_token(state: KeyState) -> None:
    young = key(state, retiring=PRIVATE_PART_KEPT - MOMENT)
    silent = key(state, retiring=PRIVATE_PART_KEPT)
    over = key(state, retiring=TIMES.refresh_lifetime + IN_FLIGHT, private=False)
    assert due_steps([ACTIVE, young], TIMES, NOW) == []
    assert due_steps([ACTIVE, silent], TIMES, NOW) == [ForgetPrivatePart(state.value)]
    assert due_steps([ACTIVE, over], TIMES, NOW) == [Retire(state.value)]


def test_ingest_api_trusts_a_retiring_key_until_its_last_access_token_and_the_leeway_are_over() -> None:
    last_token_expires = int((NOW + TIMES.access_lifetime).timestamp())
    assert TIMES.accept_until(NOW) >= last_token_expires + 30
