"""Every way in which ingest-api says no: RFC 9457 problems with a stable `code` (contracts/openapi/input.yaml)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

REALM = "Bearer"
RETRY_AFTER = "Retry-After"


class Fault(NamedTuple):
    """One place in the request's body that must be mended."""

    pointer: str
    """JSON Pointer (RFC 6901)."""
    detail: str


class Problem(Exception):  # noqa: N818  RFC 9457 calls it a problem
    """An answer that is not the one asked for. `headers` go with it."""

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
        """The body of the answer; `instance` is the request id."""
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


TITLES = {
    "malformed_body": "The body cannot be read",
    "malformed_gzip": "The body is not gzip",
    "malformed_request": "The request cannot be read",
    "token_missing": "An access token is needed",
    "token_invalid": "The access token is not valid",
    "token_expired": "The access token has expired",
    "token_revoked": "The access token has been revoked",
    "path_unknown": "There is nothing under this path",
    "device_unknown": "There is no such device",
    "batch_unknown": "There is no such batch",
    "batch_outside_window": "The batch is outside the time for which results are told",
    "method_not_allowed": "The path does not take this method",
    "not_acceptable": "The answer is not offered in an accepted form",
    "unsupported_media_type": "The body's type is not taken",
    "unsupported_content_encoding": "The body's encoding is not taken",
    "body_too_slow": "The body came too slowly",
    "body_too_large": "The body is too large",
    "wrong_shape": "The body has the wrong shape",
    "too_many_measures": "There are too many measures in the request",
    "span_too_long": "The measures span too long a time",
    "devices_unknown": "Devices of the request are not known",
    "rate_requests": "Too many requests",
    "rate_bytes": "Too many bytes",
    "in_flight": "Too much is in flight",
    "kafka_unavailable": "The platform cannot take measurements in just now",
    "kafka_late": "The measurements may be in; it is not certain",
    "record_too_large": "The platform could not take the measurements in",
    "registry_stale": "The platform cannot tell just now whether this exists",
    "result_unavailable": "The result cannot be looked up just now",
    "internal_error": "The platform made an error",
}


def unauthorized(code: str, detail: str) -> Problem:
    """401 as RFC 6750 wants it: without `error` when no token came."""
    challenge = REALM if code == "token_missing" else f'{REALM} error="invalid_token", error_description="{detail}"'
    return Problem(401, code, detail, headers={"WWW-Authenticate": challenge})


def unavailable(code: str, detail: str, retry_after_seconds: int, reason: str) -> Problem:
    """503: it may be in, send it again after so many seconds."""
    return Problem(503, code, detail, headers={RETRY_AFTER: str(retry_after_seconds)}, extra={"reason": reason})


def no_such_device() -> Problem:
    """The same to the byte for a device that does not exist and for another provider's."""
    return Problem(404, "device_unknown", "this provider has no such device")


def registry_stale() -> Problem:
    """Staleness is never a 4xx."""
    return unavailable("registry_stale", "the registry is not up to date at the moment", 2, "registry_stale")
