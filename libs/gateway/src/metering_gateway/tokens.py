"""Keeps the gateway's access: refreshes at half-life and on a 401, and rotates its tokens without ever losing them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

from metering_gateway.api import InputApi
from metering_gateway.clock import GatewayClock
from metering_gateway.domain.answers import Answer
from metering_gateway.domain.claims import Claims, UnreadableTokenError, read_claims, renewal_due
from metering_gateway.token_file import TokenFile, TokenPair, exclusive

_LOCK_POLL_SECONDS = 0.05
_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN,
                      HTTPStatus.UNPROCESSABLE_ENTITY})  # fmt: skip


class CredentialsRefusedError(Exception):
    """The platform takes the refresh token no more: a new one must be issued and imported."""


class RefreshFailedError(Exception):
    """No new tokens this time (`answer` says why); the old refresh token stays good."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.summary())
        self.answer = answer


class Tokens:
    """One gateway's tokens; several processes may share the file, one of them refreshes at a time."""

    def __init__(self, file: TokenFile, lock: Path, api: InputApi, clock: GatewayClock) -> None:
        self._file = file
        self._lock = lock
        self._api = api
        self._clock = clock
        self._fetched: tuple[str, float] | None = None

    async def access(self) -> str:
        """An access token in the first half of its life, or in the second if no new one can be had just now.

        Raises NoTokenError, CredentialsRefusedError, RefreshFailedError.
        """
        held = self._file.read().access
        if held is not None and not self._due(held):
            return held
        try:
            return await self.renew(held)
        except RefreshFailedError:
            if held is None or self._expired(held):
                raise
            return held

    async def renew(self, stale: str | None) -> str:
        """A new access token instead of `stale`; the one another process fetched meanwhile, if it did.

        The same refresh token is presented again after a lost answer, which the platform allows. The new pair is on
        the disk before it is used: presenting a successor that we then forget would end the whole family.
        """
        async with self._locked():
            pair = self._file.read()
            if pair.access is not None and pair.access != stale:
                return pair.access
            answer = await self._api.refresh(pair.refresh)
            fresh, access = _pair(answer)
            self._file.write(fresh)
            self._fetched = access, self._clock.steady_seconds()
            return access

    def _due(self, access: str) -> bool:
        try:
            claims = read_claims(access)
        except UnreadableTokenError:
            return True
        return renewal_due(claims, self._now(access, claims))

    def _expired(self, access: str) -> bool:
        try:
            claims = read_claims(access)
        except UnreadableTokenError:
            return True
        return self._now(access, claims) >= claims.expires_at

    def _now(self, access: str, claims: Claims) -> float:
        """Of a token that this process fetched, its own age counts: no wrong clock makes it old or young."""
        if self._fetched is not None and self._fetched[0] == access:
            return claims.issued_at + self._clock.steady_seconds() - self._fetched[1]
        return self._clock.now_ms() / 1000

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        while True:
            with exclusive(self._lock) as mine:
                if mine:
                    yield
                    return
            await asyncio.sleep(_LOCK_POLL_SECONDS)


def _pair(answer: Answer) -> tuple[TokenPair, str]:
    document = answer.document()
    access, refresh = document.get("accessToken"), document.get("refreshToken")
    if answer.status == HTTPStatus.OK and isinstance(access, str) and isinstance(refresh, str):
        return TokenPair(refresh, access), access
    if answer.status in _REFUSED and _is_the_platforms_word(answer):
        raise CredentialsRefusedError(f"{answer.summary()} (have a new token issued, and import it)")
    raise RefreshFailedError(answer)


def _is_the_platforms_word(answer: Answer) -> bool:
    """A proxy or a captive portal between us may say 401 or 403 too; then the token is as good as before."""
    return "code" in answer.document() or answer.headers.get("www-authenticate", "").lower().startswith("bearer")
