"""The poor line to the platform: asks until there is a real answer, refreshing, waiting and backing off in between."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Protocol

from metering_gateway.clock import GatewayClock
from metering_gateway.domain.answers import NO_ANSWER, Answer, retry_after_seconds
from metering_gateway.domain.pace import BackOff
from metering_gateway.notices import Notice, Notify
from metering_gateway.tokens import RefreshFailedError

Call = Callable[[str], Awaitable[Answer]]
Sleep = Callable[[float], Awaitable[None]]


class AccessTokens(Protocol):
    """Both raise NoTokenError, CredentialsRefusedError, and RefreshFailedError when it may be had later."""

    async def access(self) -> str: ...

    async def renew(self, stale: str | None) -> str:
        """Another one than `stale`."""


class Line:
    """All calls that need an access token go through here. `repeats` counts answers that were none."""

    def __init__(
        self,
        tokens: AccessTokens,
        clock: GatewayClock,
        back_off: BackOff,
        notify: Notify,
        *,
        rng: random.Random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._tokens = tokens
        self._clock = clock
        self._back_off = back_off
        self._notify = notify
        self._rng = rng
        self._sleep = sleep
        self._failures = 0
        self._not_before = clock.steady_seconds()
        self._trouble: str | None = None
        self.repeats = 0

    async def ask(
        self, call: Call, settled: Callable[[Answer], bool], hopeless: Callable[[Answer], bool] = lambda _: False
    ) -> Answer:
        """Returns the first answer that is `settled`; `call` gets the access token. Repeats without end if need be.

        `hopeless`: a failure that the same call would meet again (a request too large for the line). It counts as a
        failure and is returned, for the caller to ask otherwise.

        Raises NoTokenError and CredentialsRefusedError.
        """
        while True:
            await self._sleep(max(0.0, self._not_before - self._clock.steady_seconds()))
            try:
                answer = await self._try(call)
            except RefreshFailedError as error:
                self._failed(error.answer)
                continue
            if settled(answer):
                self._succeeded()
                return answer
            self._failed(answer)
            if hopeless(answer):
                return answer

    async def ask_once(self, call: Call) -> Answer:
        """One try, for what may as well be asked later: it neither waits nor makes the measures wait."""
        try:
            return await self._try(call)
        except RefreshFailedError as error:
            return Answer(NO_ANSWER, str(error))

    async def _try(self, call: Call) -> Answer:
        """401 is answered by one refresh; a second one with the fresh token is a trouble like others."""
        access = await self._tokens.access()
        answer = await call(access)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            answer = await call(await self._tokens.renew(access))
        return answer

    def _succeeded(self) -> None:
        self._failures = 0
        if self._trouble is not None:
            self._trouble = None
            self._notify(Notice("recovered", "the platform answers again"))

    def _failed(self, answer: Answer) -> None:
        self._failures += 1
        self.repeats += 1
        delay = self._back_off.delay(self._failures, retry_after_seconds(answer.headers), self._rng.random())
        self._not_before = self._clock.steady_seconds() + delay
        trouble = answer.summary()
        if trouble != self._trouble:
            self._trouble = trouble
            self._notify(Notice("trouble", f"{trouble} (sending again in {delay:.1f} s)"))
