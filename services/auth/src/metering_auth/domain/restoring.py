"""Which well-signed but unknown tokens are let in after a restored backup, and where they belong."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from metering_auth.domain.tokens import Claims


@dataclass(frozen=True)
class RestoreWindow:
    """The switch while it is on: tokens issued from the backup's time until its restoring are let in."""

    backup_at: datetime
    restored_at: datetime

    def covers(self, claims: Claims) -> bool:
        return self.backup_at <= issued_at(claims) <= self.restored_at


@dataclass(frozen=True)
class GatewayOwner:
    """What the registry says of the gateway that a token names."""

    provider_id: int
    active: bool
    """Gateway and provider both."""
    revoked_at: int | None
    """Unix seconds: tokens issued at or before are void."""
    active_kid: str | None


@dataclass(frozen=True)
class LiveFamily:
    """A family of the gateway that is not revoked."""

    id: UUID
    accepted_issued_at: datetime
    """When the newest of its accepted tokens was issued."""
    generation: int


def owner_refusal(owner: GatewayOwner | None, claims: Claims) -> str | None:
    """Returns why the token is refused; None if the gateway is still its provider's, active, and not revoked since."""
    if owner is None or owner.provider_id != claims.provider_id:
        return "other_provider"
    if not owner.active:
        return "disabled"
    if owner.revoked_at is not None and claims.issued_at <= owner.revoked_at:
        return "revoked"
    return None


def is_superseded(family: LiveFamily, claims: Claims) -> bool:
    """A token older than what was accepted since the restoring does not count any more."""
    return int(family.accepted_issued_at.timestamp()) > claims.issued_at


def issued_at(claims: Claims) -> datetime:
    return datetime.fromtimestamp(claims.issued_at, UTC)


def expires_at(claims: Claims) -> datetime:
    return datetime.fromtimestamp(claims.expires_at, UTC)
