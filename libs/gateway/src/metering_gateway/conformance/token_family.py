"""The rotation of refresh tokens as the platform keeps it (docs/architecture.md, *Rotation*), without signatures."""

import base64
import itertools
import json
from dataclasses import dataclass


@dataclass(slots=True)
class _Refresh:
    """`presented_successor`: the one of its successors that was presented to refresh first."""

    parent: str | None
    presented_successor: str | None = None


class TokenFamily:
    """One gateway's tokens. A token is good until one of its successors has been presented; a sibling is not."""

    def __init__(self, access_seconds: int) -> None:
        self._access_seconds = access_seconds
        self._numbers = itertools.count(1)
        self._refresh: dict[str, _Refresh] = {}
        self._access: dict[str, int] = {}
        self.rotations = self.refused = 0

    def issue(self, now: int) -> str:
        """The first refresh token of the family."""
        return self._new_refresh(None, now)

    def rotate(self, refresh: str, now: int) -> tuple[str, str] | None:
        """(access, refresh), or None where the platform says 401."""
        held = self._refresh.get(refresh)
        if held is None or held.presented_successor is not None or not self._is_the_line(refresh, held):
            self.refused += 1
            return None
        self.rotations += 1
        return self._new_access(now), self._new_refresh(refresh, now)

    def good(self, access: str, now: int) -> bool:
        return self._access.get(access, 0) > now

    def withdraw_access(self) -> None:
        """Ends every access token at once, before its time."""
        self._access.clear()

    def _is_the_line(self, refresh: str, held: _Refresh) -> bool:
        """The first successor presented is the line from then on; its siblings end."""
        if held.parent is None:
            return True
        parent = self._refresh[held.parent]
        parent.presented_successor = parent.presented_successor or refresh
        return parent.presented_successor == refresh

    def _new_refresh(self, parent: str | None, now: int) -> str:
        token = self._token(now, now + 60 * 86_400)
        self._refresh[token] = _Refresh(parent)
        return token

    def _new_access(self, now: int) -> str:
        token = self._token(now, now + self._access_seconds)
        self._access[token] = now + self._access_seconds
        return token

    def _token(self, issued_at: int, expires_at: int) -> str:
        claims = {"jti": str(next(self._numbers)), "iat": issued_at, "exp": expires_at, "aud": "1", "sub": "2"}
        parts = ({"alg": "none"}, claims)
        return ".".join(base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts) + ".s"
