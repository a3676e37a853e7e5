"""What becomes of a known refresh token that is presented: a pure function of what its family remembers and of now.

A token is *live* until a successor of it, or a sibling in its place, has been presented to refresh: from then on it is
*superseded* (docs/architecture.md, *Rotation*). Each superseded token's grace is counted from that moment.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

REPEAT_WINDOW = timedelta(seconds=60)  # the same token gives the same successor
GRACE = timedelta(minutes=10)  # a superseded token is a 401 and nothing more


@dataclass(frozen=True)
class KnownToken:
    """What the family remembers of the token that is presented; all times are the database's."""

    issued_at: datetime
    expires_at: datetime
    superseded_at: datetime | None
    """When a successor, or a sibling in its place, was first presented."""
    successor_at: datetime | None
    """When its latest successor was issued."""


@dataclass(frozen=True)
class Owner:
    """What holds for the family as a whole and for whom it belongs to."""

    family_revoked: bool
    active: bool
    """Gateway and provider both."""
    revoked_at: int | None
    """Unix seconds: tokens issued at or before are void (the later of gateway's and provider's)."""


class Step(StrEnum):
    """What to do; all but the first two are answered with the same 401."""

    ISSUE = "issued"
    REPEAT = "repeated"
    EXPIRED = "expired"
    FAMILY_REVOKED = "family_revoked"
    REVOKED = "revoked"
    DISABLED = "disabled"
    SUPERSEDED = "superseded"
    REUSED = "reused"


def next_step(token: KnownToken, owner: Owner, now: datetime) -> Step:
    """The first rule that applies, from what ends a token for good to what keeps it going."""
    refused = _refusal(token, owner, now)
    if refused is not None:
        return refused
    if token.superseded_at is not None:
        return Step.SUPERSEDED if now - token.superseded_at <= GRACE else Step.REUSED
    if token.successor_at is not None and now - token.successor_at <= REPEAT_WINDOW:
        return Step.REPEAT
    return Step.ISSUE


def _refusal(token: KnownToken, owner: Owner, now: datetime) -> Step | None:
    if owner.family_revoked:
        return Step.FAMILY_REVOKED
    if now >= token.expires_at:
        return Step.EXPIRED
    if owner.revoked_at is not None and int(token.issued_at.timestamp()) <= owner.revoked_at:
        return Step.REVOKED
    if not owner.active:
        return Step.DISABLED
    return None
