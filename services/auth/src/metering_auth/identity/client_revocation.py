"""A client gives its refresh token up (RFC 7009): its family refreshes no more."""

from collections.abc import Callable

from metering_auth import audit
from metering_auth.audit import Actor
from metering_auth.identity.domain import tokens
from metering_auth.identity.domain.limits import AttemptLimits
from metering_auth.identity.domain.tokens import TokenRefusedError, TokenUse
from metering_auth.identity.signing_keys import SigningKeys
from metering_auth.identity.token_store import TokenStore


class UnsupportedTokenTypeError(Exception):
    """A valid access token: it is trusted until it expires, or until its gateway is revoked."""


class ClientRevocation:
    """Any token of a family ends it, as any superseded one presented to refresh would."""

    def __init__(
        self, store: TokenStore, keys: SigningKeys, limits: AttemptLimits, monotonic: Callable[[], float]
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
        return family is not None

    async def _refuse_access_token(self, token: str) -> None:
        async with self._store.connection() as connection:
            now = int((await self._store.now(connection)).timestamp())
        try:
            tokens.read(token, TokenUse.ACCESS, self._keys.trusted, self._keys.decoy, now)
        except TokenRefusedError:
            return
        raise UnsupportedTokenTypeError
