"""A client gives its refresh token up (RFC 7009): its family refreshes no more."""

from collections.abc import Callable

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.audit import Actor
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.adapters.postgres.token_store import TokenStore
from metering_auth.application.refusals import TooManyAttemptsError
from metering_auth.domain import tokens
from metering_auth.domain.limits import AttemptLimit, whose
from metering_auth.domain.tokens import TokenRefusedError, TokenUse


class UnsupportedTokenTypeError(Exception):
    """A valid access token: it is trusted until it expires, or until its gateway is revoked."""


class ClientRevocation:
    """Any token of a family ends it, as any superseded one presented to refresh would."""

    def __init__(
        self, store: TokenStore, keys: SigningKeys, limit: AttemptLimit, monotonic: Callable[[], float]
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
        async with self._store.locked(token) as family:
            if family is not None:
                now = await self._store.now(family.connection)
                if await self._store.revoke(family.connection, family.id, now, "client"):
                    gateway = f"gateway:{family.gateway_id}"
                    facts = {"family": str(family.id)}
                    actor = Actor(gateway, address)
                    await audit.record(family.connection, actor, "token.revoked_by_client", gateway, after=facts)
        if family is None:
            await self._refuse_access_token(token)

    async def _refuse_access_token(self, token: str) -> None:
        async with self._store.connection() as connection:
            now = int((await self._store.now(connection)).timestamp())
        try:
            tokens.read(token, TokenUse.ACCESS, self._keys.trusted, self._keys.decoy, now)
        except TokenRefusedError:
            return
        raise UnsupportedTokenTypeError
