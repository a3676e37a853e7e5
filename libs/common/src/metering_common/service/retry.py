"""How long a start waits for Kafka or PostgreSQL: a tool for a while, a service for as long as it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from metering_common.service.backoff import Backoff

START_PAUSES = Backoff(first_seconds=0.25, longest_seconds=2.0)

T = TypeVar("T")
Away = tuple[type[Exception], ...]
Tell = Callable[[Exception | None], None]


class RefusedError(Exception):
    """The server is there and does not let us in: a password or a certificate is wrong, and waiting mends neither."""


def _nobody(_error: Exception | None) -> None:
    """A tool says what was wrong at its end."""


@dataclass(frozen=True)
class RetryPolicy:
    """Asks again for `seconds`, and tells each time what was wrong, at last None.

    Refusals are trusted after `refused_seconds`: a server that has just started may not know its users yet.
    """

    seconds: float = 30.0
    tell: Tell = _nobody
    refused_seconds: float = 30.0
    backoff: Backoff = START_PAUSES

    async def until(self, attempt: Callable[[], Awaitable[T]], away: Away) -> T:
        """What `attempt` gives once it no longer fails with one of `away`.

        The last error is raised when the retry ends, any other error at once.
        """
        now = asyncio.get_running_loop().time
        started = away_until = now()
        expected: Away = (RefusedError, *away)
        failures = 0
        while True:
            try:
                found = await attempt()
            except expected as error:
                if not isinstance(error, RefusedError):
                    away_until = now()
                if now() - started >= self.seconds or now() - away_until >= self.refused_seconds:
                    raise
                self.tell(error)
            else:
                self.tell(None)
                return found
            await asyncio.sleep(self.backoff.pause_seconds(failures))
            failures += 1
