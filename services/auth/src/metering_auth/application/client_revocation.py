"""A client gives its refresh token up (RFC 7009): its family refreshes no more."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from metering_auth.application.refusals import TooManyAttemptsError
from metering_auth.domain import tokens
from metering_auth.domain.limits import AttemptLimit, whose
from metering_auth.domain.tokens import TokenRefusedError, TokenUse, VerificationKeys


class UnsupportedTokenTypeError(Exception):
    """A valid access token: it is trusted until it expires, or until its gateway is revoked."""


class Session(Protocol):
    """Ends families, each call for itself."""

    async def now(self) -> datetime:
        """The clock that decides."""
        ...

    async def revoke_given_up(self, token: str, address: str) -> bool:
        """Revokes the token's family, with its audit event the first time; False if no such token is known."""
        ...


class Store(Protocol):
    """Where families are kept."""

    def session(self) -> AbstractAsyncContextManager[Session]: ...


class ClientRevocation:
    """Any token of a family ends it, as any superseded one presented to refresh would."""

    def __init__(
        self, store: Store, keys: VerificationKeys, limit: AttemptLimit, monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._keys = keys
        self._limit = limit
        self._monotonic = monotonic

    async def revoke(self, token: str, address: str) -> None:
        """Nothing happens for an unknown token; raises `UnsupportedTokenTypeError` or `TooManyAttemptsError`."""
        seconds = self._limit.seconds_to_wait(whose(address), self._monotonic())
        if seconds:
            raise TooManyAttemptsError("address", seconds)
        if not tokens.has_token_shape(token):
            return
        async with self._store.session() as session:
            if not await session.revoke_given_up(token, address):
                self._refuse_access_token(token, await session.now())

    def _refuse_access_token(self, token: str, now: datetime) -> None:
        keys = self._keys
        try:
            tokens.read(token, TokenUse.ACCESS, keys.trusted, keys.decoy, int(now.timestamp()))
        except TokenRefusedError:
            return
        raise UnsupportedTokenTypeError
