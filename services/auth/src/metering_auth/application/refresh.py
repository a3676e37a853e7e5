"""A gateway presents its refresh token and gets the next pair: the use case of both endpoints."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

import structlog

from metering_auth.application.refusals import RefreshRefusedError
from metering_auth.application.restore import ForgottenTokens
from metering_auth.domain import tokens
from metering_auth.domain.limits import AttemptLimits, TooManyAttemptsError
from metering_auth.domain.rotation import Step, next_step
from metering_auth.domain.token_pairs import IssuedClaims, Lifetimes, PresentedToken, TokenPair
from metering_auth.domain.tokens import SigningMaterial, VerificationKeys
from metering_auth.metrics import IdentityMetrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


Outcome = Step | Literal["restored"]


class Session(Protocol):
    """Reads and changes families of refresh tokens, each call for itself."""

    async def presented(self, token: str) -> PresentedToken | None:
        """None if no such token is known."""
        ...

    async def accept(self, presented: PresentedToken, claims: IssuedClaims, pair: TokenPair, kid: str) -> bool:
        """Accepts the presented token and keeps its successor; False if what was seen of it has changed meanwhile."""
        ...

    async def revoke_reused(self, presented: PresentedToken, address: str) -> bool:
        """Revokes the family, with its audit event, before it returns; False if that was done already."""
        ...

    async def active_key(self, kid: str | None) -> SigningMaterial:
        """Raises `NoSigningKeyError`, or `SealedError` for a key that cannot be opened here."""
        ...

    async def usable_key(self, kid: str) -> SigningMaterial | None:
        """The key if its private part is still kept."""
        ...


class Store(Protocol):
    """Where families are kept."""

    def session(self) -> AbstractAsyncContextManager[Session]: ...


class Refresher:
    """The use case with all it depends on; `monotonic` is for the limits, in seconds."""

    def __init__(
        self,
        *,
        store: Store,
        keys: VerificationKeys,
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
        async with self._store.session() as session:
            presented = await session.presented(token)
            if presented is not None:
                self._limits.count_gateway(presented.gateway_id, self._monotonic())
            while presented is not None:
                step = next_step(presented.token, presented.owner, presented.now)
                pair = await self._answer(session, presented, step, address)
                if pair is not None:
                    return pair, step
                presented = await session.presented(token)
        restored = await self._forgotten.let_in(token, address)
        return await self._refresh(token, address) if restored is None else (restored, "restored")

    async def _answer(self, session: Session, presented: PresentedToken, step: Step, address: str) -> TokenPair | None:
        """None where what decides has changed meanwhile (a parallel refresh, a revocation): it is to be read again."""
        match step:
            case Step.ISSUE:
                claims = IssuedClaims.fresh(presented.now, self._lifetimes)
                return await _sign_and_accept(session, presented, claims)
            case Step.REPEAT:
                return await _repeat(session, presented)
            case Step.REUSED:
                await self._revoke_reused(session, presented, address)
        raise RefreshRefusedError(step)

    async def _revoke_reused(self, session: Session, presented: PresentedToken, address: str) -> None:
        """A superseded token came back after the grace: somebody else has a copy, so nobody's copy holds any more."""
        if not await session.revoke_reused(presented, address):
            return
        self._metrics.reuses.inc()
        family = str(presented.family_id)
        log.warning("token.reused", gateway_id=presented.gateway_id, family=family, address=address)


async def _repeat(session: Session, presented: PresentedToken) -> TokenPair | None:
    """The same claims; the same text too, unless the key that signed it was withdrawn meanwhile."""
    claims, kid = presented.successor, presented.successor_kid
    if claims is None:
        raise LookupError("a repeated answer needs a successor")
    material = None if kid is None else await session.usable_key(kid)
    if material is None:
        return await _sign_and_accept(session, presented, claims)
    return presented.sign(claims, material)


async def _sign_and_accept(session: Session, presented: PresentedToken, claims: IssuedClaims) -> TokenPair | None:
    material = await session.active_key(presented.active_kid)
    pair = presented.sign(claims, material)
    return pair if await session.accept(presented, claims, pair, material.kid) else None
