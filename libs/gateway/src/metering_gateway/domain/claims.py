"""What the gateway reads in its own tokens, unverified: it must see that its key has expired (published)."""

import base64
import json
from dataclasses import dataclass
from typing import Any

_PARTS = 3


@dataclass(frozen=True, slots=True)
class Claims:
    """Unix seconds by the platform's clock; `provider` and `gateway` as text."""

    issued_at: int
    expires_at: int
    provider: str
    gateway: str


class UnreadableTokenError(ValueError):
    """Not a JWT with the published claims."""


def read_claims(token: str) -> Claims:
    parts = token.split(".")
    try:
        payload: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "==")) if len(parts) == _PARTS else None
        return Claims(int(payload["iat"]), int(payload["exp"]), str(payload["aud"]), str(payload["sub"]))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise UnreadableTokenError("this is no token of the platform") from error


def renewal_due(claims: Claims, now_seconds: float) -> bool:
    """Past half of its life, so that the platform's auth may be away for the other half unnoticed."""
    return now_seconds >= claims.issued_at + (claims.expires_at - claims.issued_at) / 2
