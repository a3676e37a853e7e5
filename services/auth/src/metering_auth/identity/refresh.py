"""A gateway presents its refresh token and gets the next pair: the use case behind the façade and /oauth/token."""

from collections.abc import Callable
from typing import Literal

import structlog

from metering_auth import audit
from metering_auth.audit import Actor
from metering_auth.identity.domain import tokens
from metering_auth.identity.domain.limits import AttemptLimit, whose
from metering_auth.identity.domain.rotation import Step, next_step
from metering_auth.identity.refusals import RefreshRefusedError, TooManyAttemptsError
from metering_auth.identity.restore import ForgottenTokens
from metering_auth.identity.signing_keys import SigningKeys
from metering_auth.identity.token_store import IssuedClaims, Lifetimes, LockedFamily, Standing, TokenPair, TokenStore
from metering_auth.metrics import IdentityMetrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Refresher:
    """The use case with all it depends on; `monotonic` is for the limits, in seconds."""

    def __init__(
        self,
        *,
        store: TokenStore,
        keys: SigningKeys,
        lifetimes: Lifetimes,
        forgotten: ForgottenTokens,
        limits: tuple[AttemptLimit, AttemptLimit],
        metrics: IdentityMetrics,
        monotonic: Callable[[], float],
    ) -> None:
        self._store = store
        self._keys = keys
        self._lifetimes = lifetimes
        self._forgotten = forgotten
        self._per_address, self._per_gateway = limits
        self._metrics = metrics
        self._monotonic = monotonic

    async def refresh(self, token: str, address: str) -> TokenPair:
        """The next pair, sent only after it is committed; raises `RefreshRefusedError` or `TooManyAttemptsError`."""
        try:
            self._count_attempt(self._per_address, "address", whose(address))
            pair, step = await self._refresh(token, address)
        except RefreshRefusedError as error:
            self._metrics.refreshes.labels(error.reason).inc()
            raise
        except TooManyAttemptsError as error:
            self._metrics.refreshes.labels(f"limited_{error.limit}").inc()
            raise
        self._metrics.refreshes.labels(step).inc()
        return pair

    async def _refresh(self, token: str, address: str) -> tuple[TokenPair, str]:
        if not tokens.has_token_shape(token):
            raise RefreshRefusedError("malformed")
        async with self._store.locked(token) as family:
            if family is not None:
                self._count_attempt(self._per_gateway, "gateway", family.family.gateway_id)
                standing = await family.standing()
                step = next_step(standing.token, standing.owner, standing.now)
                pair = await self._answer(family, standing, step, address)
        if family is None:
            restored = await self._forgotten.let_in(token, address)
            return await self._refresh(token, address) if restored is None else (restored, "restored")
        if pair is None:
            raise RefreshRefusedError(step)
        return pair, step

    async def _answer(self, family: LockedFamily, standing: Standing, step: Step, address: str) -> TokenPair | None:
        """None where the step is a refusal: what it changed is committed before the 401 is sent."""
        match step:
            case Step.ISSUE:
                return await self._issue(family, standing)
            case Step.REPEAT:
                return await self._repeat(family, standing)
            case Step.REUSED:
                await self._revoke_reused(family, standing, address)
        return None

    async def _issue(self, family: LockedFamily, standing: Standing) -> TokenPair:
        claims = IssuedClaims.fresh(standing.now, self._lifetimes)
        return await self._sign_and_add(family, standing, claims)

    async def _repeat(self, family: LockedFamily, standing: Standing) -> TokenPair:
        """The same claims; the same text too, unless the key that signed it was withdrawn meanwhile."""
        claims = standing.successor
        if claims is None:
            raise LookupError("a repeated answer needs a successor")
        kid = standing.successor_kid
        material = None if kid is None else await self._keys.usable(family.connection, kid)
        if material is None:
            return await self._sign_and_add(family, standing, claims)
        return claims.signed(family.family.provider_id, family.family.gateway_id, material)

    async def _sign_and_add(self, family: LockedFamily, standing: Standing, claims: IssuedClaims) -> TokenPair:
        material = await self._keys.active(family.connection, standing.active_kid)
        pair = claims.signed(family.family.provider_id, family.family.gateway_id, material)
        await family.accept_and_add(standing, claims, material.kid, pair.refresh)
        return pair

    async def _revoke_reused(self, family: LockedFamily, standing: Standing, address: str) -> None:
        """A superseded token came back after the grace: somebody else has a copy, so nobody's copy holds any more."""
        if not await family.revoke(standing.now, "reuse"):
            return
        gateway = f"gateway:{family.family.gateway_id}"
        facts = {"family": str(family.family.id), "generation": standing.generation}
        await audit.record(family.connection, Actor(gateway, address), "token.reused", gateway, after=facts)
        self._metrics.reuses.inc()
        log.warning("token.reused", gateway_id=family.family.gateway_id, family=str(family.family.id), address=address)

    def _count_attempt(self, limit: AttemptLimit, name: Literal["address", "gateway"], key: str | int) -> None:
        seconds = limit.seconds_to_wait(key, self._monotonic())
        if seconds:
            raise TooManyAttemptsError(name, seconds)
