"""Random histories of one family: the database answers what the sentences of docs/architecture.md, *Rotation*, say.

The model below is written from those sentences and from nothing in the service: it keeps every token and when each was
first presented, and derives each answer again from that history.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from auth_support import ControlledClock, World, refreshing_parts
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import SecretStr

from metering_auth.settings import StoreSettings
from metering_common.postgres import pool as postgres
from metering_local.testing import FreshDatabase

KEY = SecretStr("A" * 43)
START = datetime(2026, 3, 11, 15, 5, 18, tzinfo=UTC)
MINUTE, DAY = 60.0, 86_400.0
SHORT_SPANS = [0.5, 30.0, 59.5, 60.0, 60.5]
GRACES = [5 * MINUTE, 10 * MINUTE - 0.5, 10 * MINUTE, 10 * MINUTE + 0.5]
LONG_SPANS = [90 * MINUTE, DAY, 59 * DAY, 60 * DAY]
EARLY = 3  # so many tokens, and the key may be withdrawn
LATE = 10  # so many tokens make a history worth ending


@dataclass
class Token:
    """What the model remembers of one token."""

    text: str = field(repr=False)
    parent: "Token | None"
    issued_at: datetime
    presented_at: datetime | None = None


@pytest.fixture
def world(auth_database: FreshDatabase) -> Iterator[World]:
    with asyncio.Runner() as runner:
        dsn = auth_database.dsn_for("auth_service")
        opening = postgres.pool(dsn, application_name="histories", max_size=2)
        pool = runner.run(opening.__aenter__())
        clock = ControlledClock(START)
        yield runner.run(refreshing_parts(runner, pool, clock, StoreSettings(database_url=dsn, key_encryption_key=KEY)))
        runner.run(opening.__aexit__(None, None, None))


class Histories(RuleBasedStateMachine):
    """One family; any token of it may be presented at any time, by anybody."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.family_revoked = False
        self.withdrawn_kid: str | None = None
        self.revoked_second = -1

    @initialize()
    def a_gateway_gets_its_first_token(self) -> None:
        self.gateway, text = self.world.new_gateway()
        self.tokens = [Token(text, None, self.now)]

    @property
    def now(self) -> datetime:
        return self.world.clock.now

    @rule(span=st.sampled_from(SHORT_SPANS))
    def moments_pass(self, span: float) -> None:
        self.world.clock.advance(span)

    @rule(span=st.sampled_from(GRACES))
    def minutes_pass(self, span: float) -> None:
        self.world.clock.advance(span)

    @precondition(lambda self: len(self.tokens) > LATE)
    @rule(span=st.sampled_from(LONG_SPANS))
    def days_pass(self, span: float) -> None:
        self.world.clock.advance(span)

    @rule(span=st.sampled_from(SHORT_SPANS), times=st.integers(min_value=2, max_value=3))
    def the_answer_is_lost_and_the_same_token_comes_again(self, span: float, times: int) -> None:
        token = self.tokens[-1]
        for _ in range(times):
            self.present(token)
            self.world.clock.advance(span)

    @rule(back=st.integers(min_value=0, max_value=3))
    def a_recent_token_is_presented(self, back: int) -> None:
        self.present(self.tokens[-1 - back % len(self.tokens)])

    @rule(place=st.integers(min_value=0, max_value=100))
    def any_token_is_presented(self, place: int) -> None:
        self.present(self.tokens[place % len(self.tokens)])

    @rule(back=st.integers(min_value=0, max_value=3))
    def a_token_is_presented_while_the_gateway_is_disabled(self, back: int) -> None:
        self.world.set_active(self.gateway, active=False)
        assert self.world.refresh(self.tokens[-1 - back % len(self.tokens)].text) is None
        self.world.set_active(self.gateway, active=True)

    @rule(place=st.integers(min_value=0, max_value=100), span=st.sampled_from(GRACES))
    def a_superseded_token_comes_back(self, place: int, span: float) -> None:
        """So long after its successor's or sibling's first use, if that is still to come."""
        superseded = [token for token in self.tokens if self.replaced_at(token) is not None]
        if not superseded:
            return
        token = superseded[-1 - place % len(superseded)]
        replaced_at = self.replaced_at(token)
        assert replaced_at is not None
        self.world.clock.advance(max(0.0, span - (self.now - replaced_at).total_seconds()))
        self.present(token)

    @precondition(lambda self: len(self.tokens) > LATE)
    @rule()
    def the_gateway_is_revoked(self) -> None:
        self.world.revoke(self.gateway)
        self.revoked_second = int(self.now.timestamp())

    @precondition(lambda self: len(self.tokens) > EARLY and self.withdrawn_kid is None)
    @rule()
    def the_signing_key_is_withdrawn(self) -> None:
        self.withdrawn_kid = self.world.withdraw_key()

    @invariant()
    def of_each_generation_one_token_at_most_was_accepted(self) -> None:
        assert self.world.accepted_twice() == 0

    def present(self, token: Token) -> None:
        expected = self.expected(token)
        answer = self.world.refresh(token.text)
        if expected is None:
            assert answer is None
            return
        assert answer is not None
        token.presented_at = token.presented_at or self.now
        if expected == "another":
            assert answer not in {known.text for known in self.tokens}
            self.tokens.append(Token(answer, token, self.now))
        elif kid_of(expected) == self.withdrawn_kid:  # the same claims, signed again
            assert kid_of(answer) != self.withdrawn_kid
            assert claims_of(answer) == claims_of(expected)
            issued_at = next(known.issued_at for known in self.tokens if known.text == expected)
            self.tokens.append(Token(answer, token, issued_at))
        else:
            assert answer == expected

    def expected(self, token: Token) -> str | None:
        """None for a 401, the text that must be repeated, or "another"."""
        expired = self.now >= token.issued_at.replace(microsecond=0) + timedelta(days=60)
        void = int(token.issued_at.timestamp()) <= self.revoked_second
        if self.family_revoked or expired or void:
            return None
        replaced_at = self.replaced_at(token)
        if replaced_at is not None:
            self.family_revoked = self.now - replaced_at > timedelta(minutes=10)
            return None
        successors = [other for other in self.tokens if other.parent is token]
        if successors and self.now - successors[-1].issued_at <= timedelta(seconds=60):
            return successors[-1].text
        return "another"

    def replaced_at(self, token: Token) -> datetime | None:
        """When a successor of the token, or a sibling, was first presented."""
        instead = [other for other in self.tokens if other.parent is token]
        instead += [other for other in self.tokens if other.parent is token.parent and other is not token]
        return min((other.presented_at for other in instead if other.presented_at is not None), default=None)


def kid_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_random_histories_go_as_designed(world: World) -> None:
    class HistoriesHere(Histories):
        def __init__(self) -> None:
            super().__init__(world)

    chosen = settings(
        max_examples=40,
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(HistoriesHere, settings=chosen)


def test_an_honest_gateway_is_never_locked_out(world: World) -> None:
    """Lost answers, reboots and doubled processes: two processes share a file, and lose every third answer each."""
    _, text = world.new_gateway()
    shared, answers = text, 0
    for turn in range(60):
        stale = shared
        for process in (0, 1):
            answer = world.refresh(stale if process == 0 else shared)
            lost = (turn + process) % 3 == 0
            if answer is not None:
                answers += 1
                shared = shared if lost else answer
        world.clock.advance(7.0 * (turn % 11))
    world.clock.advance(90 * MINUTE)
    assert world.refresh(shared) is not None
    assert answers > 60
