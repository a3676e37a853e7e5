"""A gateway presents its refresh token and gets the next pair: the use case behind the façade and /oauth/token."""

from collections.abc import Callable
from typing import Literal

import structlog

from metering_auth import audit
from metering_auth.audit import Actor
from metering_auth.identity.domain import tokens
from metering_auth.identity.domain.limits import AttemptLimits, TooManyAttemptsError
from metering_auth.identity.domain.rotation import Step, next_step
from metering_auth.identity.refusals import RefreshRefusedError
from metering_auth.identity.restore import ForgottenTokens
from metering_auth.identity.signing_keys import Connection, SigningKeys
from metering_auth.identity.token_store import IssuedClaims, Lifetimes, Standing, TokenPair, TokenStore
from metering_auth.metrics import IdentityMetrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


Outcome = Step | Literal["restored"]


class Refresher:
    """The use case with all it depends on; `monotonic` is for the limits, in seconds."""

    def __init__(
        self,
        *,
        store: TokenStore,
        keys: SigningKeys,
        lifetimes: Lifetimes,
        forgotten: ForgottenTokens,
        limits: AttemptLimits,
        metrics: IdentityMetrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._keys = keys
        self._lifetimes = lifetimes
        self._forgotten = forgotten
        self._limits = limits
        self._metrics = metrics
        self._monotonic = monotonic

    async def refresh(self, token: str, address: str) -> TokenPair:
        """The next pair, sent only after it is committed; raises `RefreshRefusedError` or `TooManyAttemptsError`."""
        try:
            pair, step = await self._attempt(token, address)
        except RefreshRefusedError as error:
            self._metrics.refreshes.labels(error.reason).inc()
            raise
        except TooManyAttemptsError as error:
            self._metrics.refreshes.labels(f"limited_{error.payer}").inc()
            raise
        self._metrics.refreshes.labels(step).inc()
        return pair

    async def _attempt(self, token: str, address: str) -> tuple[TokenPair, Outcome]:
        """A token that auth has signed pays for itself, any other one's address pays if it is refused."""
        if tokens.is_signed(token, self._keys.trusted):
            self._limits.count_token(tokens.fingerprint(token), self._monotonic())
            return await self._refresh(token, address)
        self._limits.check_address(address, self._monotonic())
        try:
            return await self._refresh(token, address)
        except RefreshRefusedError:
            self._limits.count_failure(address, self._monotonic())
            raise

    async def _refresh(self, token: str, address: str) -> tuple[TokenPair, Outcome]:
        if not tokens.has_token_shape(token):
            raise RefreshRefusedError("malformed")
        async with self._store.connection() as connection:
            standing = await self._store.standing(connection, token)
            if standing is not None:
                self._limits.count_gateway(standing.gateway_id, self._monotonic())
            while standing is not None:
                step = next_step(standing.token, standing.owner, standing.now)
                pair = await self._answer(connection, standing, step, address)
                if pair is not None:
                    return pair, step
                standing = await self._store.standing(connection, token)
        restored = await self._forgotten.let_in(token, address)
        return await self._refresh(token, address) if restored is None else (restored, "restored")

    async def _answer(self, connection: Connection, standing: Standing, step: Step, address: str) -> TokenPair | None:
        """None where what decides has changed meanwhile (a parallel refresh, a revocation): it is to be read again."""
        match step:
            case Step.ISSUE:
                claims = IssuedClaims.fresh(standing.now, self._lifetimes)
                return await self._sign_and_accept(connection, standing, claims)
            case Step.REPEAT:
                return await self._repeat(connection, standing)
            case Step.REUSED:
                await self._revoke_reused(connection, standing, address)
        raise RefreshRefusedError(step)

    async def _repeat(self, connection: Connection, standing: Standing) -> TokenPair | None:
        """The same claims; the same text too, unless the key that signed it was withdrawn meanwhile."""
        claims, kid = standing.successor, standing.successor_kid
        if claims is None:
            raise LookupError("a repeated answer needs a successor")
        material = None if kid is None else await self._keys.usable(connection, kid)
        if material is None:
            return await self._sign_and_accept(connection, standing, claims)
        return standing.sign(claims, material)

    async def _sign_and_accept(
        self, connection: Connection, standing: Standing, claims: IssuedClaims
    ) -> TokenPair | None:
        material = await self._keys.active(connection, standing.active_kid)
        pair = standing.sign(claims, material)
        return pair if await self._store.accept(connection, standing, claims, pair, material.kid) else None

    async def _revoke_reused(self, connection: Connection, standing: Standing, address: str) -> None:
        """A superseded token came back after the grace: somebody else has a copy, so nobody's copy holds any more.

        It is committed before the 401 is sent.
        """
        gateway = f"gateway:{standing.gateway_id}"
        facts = {"family": str(standing.family_id), "generation": standing.generation}
        async with connection.transaction():
            if not await self._store.revoke(connection, standing.family_id, standing.now, "reuse"):
                return
            await audit.record(connection, Actor(gateway, address), "token.reused", gateway, after=facts)
        self._metrics.reuses.inc()
        log.warning("token.reused", gateway_id=standing.gateway_id, family=str(standing.family_id), address=address)
