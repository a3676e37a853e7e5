"""How long a start waits, for whom, and how that is seen from outside."""

import math
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from metering_common.service.admin_server import AdminServer
from metering_common.service.backoff import Backoff
from metering_common.service.clock import ManualClock
from metering_common.service.retry import RefusedError, RetryPolicy

pytestmark = pytest.mark.fast

AWAY = (ConnectionError, TimeoutError)


def failing(*errors: Exception) -> Callable[[], Awaitable[str]]:
    """Fails with each of them once, the last one for ever when it is given twice; then it is there."""
    left = list(errors)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "there"

    return attempt


async def refusing() -> str:
    raise RefusedError("who are you?")


async def away() -> str:
    raise ConnectionError("nobody there")


async def test_what_is_away_is_asked_again_and_told_each_time() -> None:
    told: list[str | None] = []
    retry = RetryPolicy(math.inf, lambda error: told.append(None if error is None else str(error)), backoff=Backoff(0))
    errors = ConnectionRefusedError("away"), RefusedError("not yet known")
    assert await retry.until(failing(*errors), AWAY) == "there"
    assert told == ["away", "not yet known", None]


async def test_a_retry_that_ends_raises_the_last_error() -> None:
    with pytest.raises(ConnectionError, match="nobody there"):
        await RetryPolicy(0.1, backoff=Backoff(0.01, 2)).until(away, AWAY)


async def test_refusals_end_the_longest_retry() -> None:
    with pytest.raises(RefusedError, match="who are you"):
        await RetryPolicy(math.inf, refused_seconds=0.1, backoff=Backoff(0.01, 2)).until(refusing, AWAY)


async def test_refusals_are_counted_from_when_the_server_was_there() -> None:
    attempt = failing(*[ConnectionError("away")] * 5, RefusedError("not yet known"))  # away for 0.31 s
    assert await RetryPolicy(math.inf, refused_seconds=0.3, backoff=Backoff(0.01, 2)).until(attempt, AWAY) == "there"


async def test_any_other_error_is_raised_at_once() -> None:
    with pytest.raises(ValueError, match="a bug"):
        await RetryPolicy(math.inf).until(failing(ValueError("a bug")), AWAY)


async def test_a_start_that_waits_says_so_at_readyz_and_once_per_change_in_the_log() -> None:
    server = AdminServer("127.0.0.1", 0, CollectorRegistry(), ManualClock(0))
    reasons: list[str | None] = []
    errors = failing(ConnectionError("refused"), ConnectionError("refused again"), TimeoutError(), RefusedError("who?"))

    async def attempt() -> str:
        reasons.append(server.reasons().get("kafka"))
        return await errors()

    with capture_logs() as lines:
        await replace(server.start_retry("kafka"), backoff=Backoff(0)).until(attempt, AWAY)
    assert reasons == [None, "refused", "refused again", "TimeoutError", "who?"]
    assert "kafka" not in server.reasons()
    assert [(line["event"], line.get("reason")) for line in lines] == [
        ("start.waiting", "refused"),
        ("start.waiting", "TimeoutError"),
        ("start.waiting", "who?"),
        ("start.goes_on", None),
    ]


async def test_what_is_not_needed_may_be_away_but_may_not_refuse() -> None:
    server = AdminServer("127.0.0.1", 0, CollectorRegistry(), ManualClock(0))
    retry = server.start_retry("kafka", needed=False)
    reasons: list[str | None] = []
    errors = failing(RefusedError("who?"), ConnectionError("refused"), RefusedError("who?"), ConnectionError("refused"))

    async def attempt() -> str:
        reasons.append(server.reasons().get("kafka"))
        return await errors()

    await replace(retry, backoff=Backoff(0)).until(attempt, AWAY)
    assert reasons == ["not asked yet", "who?", None, "who?", None]
    assert "kafka" not in server.reasons()


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(first_seconds=0.1, longest_seconds=5)
    assert [backoff.pause_seconds(failures) for failures in (0, 1, 2, 5, 6, 10_000)] == [0.1, 0.2, 0.4, 3.2, 5, 5]
