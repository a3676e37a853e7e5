"""RFC 9457 problems: every way in which the published API refuses a request, each with a stable `code`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER = "Retry-After"
_SCHEME = "Bearer"

TITLES = {
    "malformed_body": "The body cannot be read",
    "malformed_gzip": "The body is not gzip",
    "malformed_request": "The request cannot be read",
    "token_missing": "An access token is needed",
    "token_invalid": "The token is not valid",
    "token_expired": "The token has expired",
    "token_revoked": "The token has been revoked",
    "path_unknown": "There is nothing under this path",
    "device_unknown": "There is no such device",
    "batch_unknown": "There is no such batch",
    "batch_outside_window": "The batch is outside the time for which results are reported",
    "method_not_allowed": "The path does not take this method",
    "not_acceptable": "The answer is not offered in an accepted form",
    "unsupported_media_type": "The body's type is not taken",
    "unsupported_content_encoding": "The body's encoding is not taken",
    "body_too_slow": "The body came too slowly",
    "body_too_large": "The body is too large",
    "wrong_shape": "The body has the wrong shape",
    "too_many_measures": "There are too many measures in the request",
    "too_many_values": "There are too many values in the request",
    "span_too_long": "The measures span too long a time",
    "devices_unknown": "Devices of the request are not known",
    "rate_requests": "Too many requests",
    "rate_bytes": "Too many bytes",
    "rate_values": "Too many values",
    "rate_attempts": "Too many attempts to refresh a token",
    "share_in_flight": "Too much of this gateway is in flight",
    "overloaded": "Too much is in flight",
    "kafka_unavailable": "The platform cannot take measurements in just now",
    "kafka_late": "The measurements may be in; it is not certain",
    "record_too_large": "The platform could not take the measurements in",
    "registry_stale": "The platform cannot tell just now whether this exists",
    "result_unavailable": "The result cannot be looked up just now",
    "tokens_unavailable": "Tokens cannot be issued just now",
    "internal_error": "The platform made an error",
}
"""The dictionary of codes, for all services; contracts/openapi lists them, and a contract test compares."""


class Fault(NamedTuple):
    """One place in the request's body that must be mended."""

    pointer: str
    """JSON Pointer (RFC 6901)."""
    detail: str


class Problem(Exception):  # noqa: N818  RFC 9457 calls it a problem
    """An answer that is not the one asked for. `headers` go with it; `code` is a key of `TITLES`."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    @property
    def title(self) -> str:
        return TITLES[self.code]

    def document(self, instance: str) -> dict[str, Any]:
        """Returns the body of the answer; `instance` is the request id."""
        document = {
            "type": f"urn:metering:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            "code": self.code,
            **self.extra,
        }
        return document | {"errors": [fault._asdict() for fault in self.errors]} if self.errors else document


def unauthorized(code: str, detail: str) -> Problem:
    """Returns a 401 as RFC 6750 wants it: without `error` when no token came."""
    challenge = _SCHEME if code == "token_missing" else f'{_SCHEME} error="invalid_token", error_description="{detail}"'
    return Problem(401, code, detail, headers={"WWW-Authenticate": challenge})


def too_many(code: str, detail: str, retry_after_seconds: int, limit: Mapping[str, Any]) -> Problem:
    """Returns a 429: nothing was taken; `limit` says which limit, and of whom."""
    return Problem(429, code, detail, headers={RETRY_AFTER: str(retry_after_seconds)}, extra={"limit": dict(limit)})


def unavailable(code: str, detail: str, retry_after_seconds: int, reason: str) -> Problem:
    """Returns a 503: it may be in, send it again after so many seconds."""
    return Problem(503, code, detail, headers={RETRY_AFTER: str(retry_after_seconds)}, extra={"reason": reason})
