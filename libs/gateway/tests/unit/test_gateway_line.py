"""The line to the platform, with a clock and a sleep of the test's own: what was asked for is waited for."""

import random
from collections.abc import Iterable

import pytest

from metering_gateway import BackOff, CredentialsRefusedError, Notice
from metering_gateway.clock import GatewayClock
from metering_gateway.domain.answers import Answer
from metering_gateway.line import Line
from metering_gateway.tokens import RefreshFailedError

pytestmark = pytest.mark.fast


class Time:
    """Passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def wall_ms(self) -> int:
        return round(self.now * 1000)

    def steady_seconds(self) -> float:
        return self.now

    def boot(self) -> str:
        return "boot"

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Access:
    """Tokens "1", "2", …; what stands in `failures` is raised first."""

    def __init__(self, failures: Iterable[Exception] = ()) -> None:
        self.failures = list(failures)
        self.number = 1

    async def access(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return str(self.number)

    async def renew(self, stale: str | None) -> str:
        assert stale == str(self.number)
        self.number += 1
        return str(self.number)


class Answers:
    """A call that gives these answers in turn, and keeps the tokens that it was made with."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.tokens: list[str] = []

    async def __call__(self, access: str) -> Answer:
        self.tokens.append(access)
        return self.answers.pop(0)


def line(time: Time, access: Access, notices: list[Notice] | None = None) -> Line:
    told = notices if notices is not None else []
    return Line(access, GatewayClock(time), BackOff(1, 60), told.append, rng=random.Random(3), sleep=time.sleep)


def is_created(answer: Answer) -> bool:
    return answer.status == 201


async def test_retry_after_is_waited_for_before_the_next_call() -> None:
    time, call = Time(), Answers(Answer(429, headers={"retry-after": "30"}), Answer(201))
    await line(time, Access()).ask(call, is_created)
    assert 30 <= sum(time.slept) < 40


async def test_the_wait_holds_for_whatever_is_asked_next() -> None:
    time = Time()
    the_line = line(time, Access())
    await the_line.ask(Answers(Answer(503), Answer(503), Answer(503), Answer(201)), is_created)
    waits = [seconds for seconds in time.slept if seconds]
    assert [0.5 <= waits[0] <= 1, 1 <= waits[1] <= 2, 2 <= waits[2] <= 4] == [True] * 3
    time.slept.clear()
    await the_line.ask(Answers(Answer(201)), is_created)
    assert sum(time.slept) == 0


async def test_a_401_is_answered_by_one_refresh_and_the_same_call() -> None:
    time, call = Time(), Answers(Answer(401), Answer(201))
    await line(time, Access()).ask(call, is_created)
    assert call.tokens == ["1", "2"]
    assert sum(time.slept) == 0


async def test_a_401_for_a_fresh_token_backs_off() -> None:
    time, call = Time(), Answers(Answer(401), Answer(401), Answer(401), Answer(201))
    await line(time, Access()).ask(call, is_created)
    assert call.tokens == ["1", "2", "2", "3"]
    assert sum(time.slept) > 0


async def test_a_refresh_that_fails_is_waited_for_as_it_asks() -> None:
    time, failure = Time(), RefreshFailedError(Answer(503, headers={"retry-after": "7"}))
    await line(time, Access([failure])).ask(Answers(Answer(201)), is_created)
    assert sum(time.slept) >= 7


async def test_a_refused_refresh_token_ends_the_asking() -> None:
    with pytest.raises(CredentialsRefusedError):
        await line(Time(), Access([CredentialsRefusedError("401")])).ask(Answers(), is_created)


async def test_what_may_be_asked_later_neither_waits_nor_makes_wait() -> None:
    time = Time()
    the_line = line(time, Access([RefreshFailedError(Answer(503))]))
    assert (await the_line.ask_once(Answers())).status == 0
    assert (await the_line.ask_once(Answers(Answer(503, headers={"retry-after": "30"})))).status == 503
    await the_line.ask(Answers(Answer(201)), is_created)
    assert sum(time.slept) == 0


async def test_a_new_kind_of_trouble_is_told_again() -> None:
    told: list[Notice] = []
    call = Answers(Answer(503), Answer(503), Answer(502), Answer(201))
    await line(Time(), Access(), told).ask(call, is_created)
    assert [notice.kind for notice in told] == ["trouble", "trouble", "recovered"]
