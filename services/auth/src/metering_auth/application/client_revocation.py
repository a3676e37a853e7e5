"""A client gives its refresh token up (RFC 7009): its family refreshes no more."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from metering_auth.domain import tokens
from metering_auth.domain.limits import AttemptLimits
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
        self, store: Store, keys: VerificationKeys, limits: AttemptLimits, monotonic: Callable[[], float]
    ) -> None:
        self._store = store
        self._keys = keys
        self._limits = limits
        self._monotonic = monotonic

    async def revoke(self, token: str, address: str) -> None:
        """Nothing happens for an unknown token; raises `UnsupportedTokenTypeError` or `TooManyAttemptsError`."""
        signed = tokens.is_signed(token, self._keys.trusted)
        if signed:
            self._limits.count_token(tokens.fingerprint(token), self._monotonic())
        else:
            self._limits.check_address(address, self._monotonic())
        known = tokens.has_token_shape(token) and await self._revoke(token, address)
        if not (signed or known):
            self._limits.count_failure(address, self._monotonic())

    async def _revoke(self, token: str, address: str) -> bool:
        """Whether the token was known."""
        async with self._store.session() as session:
            known = await session.revoke_given_up(token, address)
            if not known:
                self._refuse_access_token(token, await session.now())
        return known

    def _refuse_access_token(self, token: str, now: datetime) -> None:
        keys = self._keys
        try:
            tokens.read(token, TokenUse.ACCESS, keys.trusted, keys.decoy, int(now.timestamp()))
        except TokenRefusedError:
            return
        raise UnsupportedTokenTypeError
