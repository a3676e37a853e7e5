"""What a gateway is given: a pair of tokens, and the claims from which the same pair is signed again."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from metering_auth.domain.rotation import KnownToken, Owner
from metering_auth.domain.tokens import Claims, SigningMaterial, TokenUse, sign


@dataclass(frozen=True)
class Lifetimes:
    """How long tokens are valid."""

    access: timedelta
    refresh: timedelta


@dataclass(frozen=True)
class TokenPair:
    """What a gateway gets; its `repr` shows neither token."""

    gateway_id: int
    access_seconds: int
    access: str
    refresh: str

    def __repr__(self) -> str:
        return f"TokenPair(gateway_id={self.gateway_id})"


@dataclass(frozen=True)
class IssuedClaims:
    """What one pair is signed from, now or again."""

    jti: UUID
    access_jti: UUID
    issued_at: datetime
    expires_at: datetime
    access_expires_at: datetime

    @classmethod
    def fresh(cls, now: datetime, lifetimes: Lifetimes) -> "IssuedClaims":
        whole = now.replace(microsecond=0)  # `iat` and `exp` are whole seconds
        return cls(uuid4(), uuid4(), now, whole + lifetimes.refresh, whole + lifetimes.access)

    def columns(self, kid: str) -> tuple[object, ...]:
        """As a token's row keeps them."""
        return self.jti, self.access_jti, kid, self.issued_at, self.expires_at, self.access_expires_at

    def signed(self, provider_id: int, gateway_id: int, material: SigningMaterial) -> TokenPair:
        issued = int(self.issued_at.timestamp())
        access_until, refresh_until = int(self.access_expires_at.timestamp()), int(self.expires_at.timestamp())
        access = Claims(self.access_jti, issued, access_until, provider_id, gateway_id, TokenUse.ACCESS)
        refresh = Claims(self.jti, issued, refresh_until, provider_id, gateway_id, TokenUse.REFRESH)
        return TokenPair(gateway_id, access_until - issued, sign(access, material), sign(refresh, material))


@dataclass(frozen=True)
class PresentedToken:
    """What is known of a presented token, and of its latest successor."""

    now: datetime
    hash: bytes
    seen: int
    """A hash of all the rest: as long as it is the same, so is the rest."""
    family_id: UUID
    provider_id: int
    gateway_id: int
    generation: int
    token: KnownToken
    owner: Owner
    active_kid: str | None
    successor: IssuedClaims | None
    successor_kid: str | None
    """None if that key may not sign any more."""

    def sign(self, claims: IssuedClaims, material: SigningMaterial) -> TokenPair:
        return claims.signed(self.provider_id, self.gateway_id, material)
