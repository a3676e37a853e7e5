"""The standard endpoints beside the façade: RFC 6749 (refresh_token grant), RFC 7009, RFC 8414, RFC 7517."""

import base64
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from metering_auth.adapters.http.bodies import FORM, JSON, Intake
from metering_auth.adapters.http.problems import NO_STORE
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.application.client_revocation import ClientRevocation, UnsupportedTokenTypeError
from metering_auth.application.refresh import Refresher
from metering_auth.application.refusals import RefreshRefusedError
from metering_auth.domain.limits import TooManyAttemptsError
from metering_common.http.problems import Problem
from metering_common.service.clock import Clock

TOKEN_PATH = "/oauth/token"  # noqa: S105  a path, not a secret
REVOKE_PATH = "/oauth/revoke"
FORM_PATHS = frozenset({TOKEN_PATH, REVOKE_PATH})
METADATA_PATH = "/.well-known/oauth-authorization-server"
JWKS_PATH = "/.well-known/jwks.json"
METADATA_MAX_AGE = 3_600  # seconds
JWKS_MAX_AGE = 300  # seconds, and never longer than a new key is published before it signs
MAX_FIELDS = 20


class OAuthError(Exception):
    """An error in the form of RFC 6749, section 5.2."""

    def __init__(self, error: str, description: str, status: int = 400, retry_after_seconds: int = 0) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    def response(self) -> web.Response:
        headers = {"Retry-After": str(self.retry_after_seconds)} if self.retry_after_seconds else {}
        return _json({"error": self.error, "error_description": self.description}, self.status, NO_STORE | headers)


class OAuth:
    """`public_url` is auth's issuer in the sense of RFC 8414; the claim `iss` is another, published name."""

    def __init__(
        self,
        *,
        refresher: Refresher,
        revocation: ClientRevocation,
        keys: SigningKeys,
        intake: Intake,
        clock: Clock,
        public_url: str,
        key_publish_seconds: float,
    ) -> None:
        self._refresher = refresher
        self._revocation = revocation
        self._keys = keys
        self._intake = intake
        self._clock = clock
        self._jwks_cache = f"public, max-age={int(min(JWKS_MAX_AGE, key_publish_seconds))}"
        self._metadata = _metadata(public_url)

    async def token(self, request: web.Request) -> web.StreamResponse:
        """The refresh_token grant; a client authenticates by the token alone."""
        try:
            with self._intake.reading(request):
                token = _refresh_token(await self._fields(request))
            pair = await self._refresher.refresh(token, self._intake.address(request))
        except OAuthError as error:
            return error.response()
        except RefreshRefusedError as error:
            what = "has expired" if error.expired else "is not valid"
            return OAuthError("invalid_grant", f"the refresh token {what}").response()
        except TooManyAttemptsError as error:
            return _too_many(error).response()
        body = {
            "access_token": pair.access,
            "token_type": "Bearer",
            "expires_in": pair.access_seconds,
            "refresh_token": pair.refresh,
        }
        return _json(body, 200, NO_STORE)

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        """200 for every token that is not valid afterwards, known or not; access tokens are not revoked one by one."""
        try:
            with self._intake.reading(request):
                token = _token_to_revoke(await self._fields(request))
            await self._revocation.revoke(token, self._intake.address(request))
        except OAuthError as error:
            return error.response()
        except UnsupportedTokenTypeError:
            description = "access tokens end by themselves; revoke the refresh token"
            return OAuthError("unsupported_token_type", description).response()
        except TooManyAttemptsError as error:
            return _too_many(error).response()
        return web.Response(status=200, headers=NO_STORE)

    async def metadata(self, _request: web.Request) -> web.StreamResponse:
        return _json(self._metadata, 200, {"Cache-Control": f"public, max-age={METADATA_MAX_AGE}"})

    async def jwks(self, request: web.Request) -> web.StreamResponse:
        """The keys that may be trusted now; asked again with its ETag it answers 304. It asks no database."""
        offered = self._keys.offered(self._clock.now_ms() // 1_000)
        keys = [_jwk(kid, key) for kid, key in offered.items()]
        response = _json({"keys": keys}, 200, {"Cache-Control": self._jwks_cache})
        response.etag = "-".join(sorted(offered)) or "none"
        etags = request.if_none_match or ()
        if any(etag.value == response.etag.value for etag in etags if response.etag is not None):
            response.set_status(304)
            response.body = None
        return response

    async def _fields(self, request: web.Request) -> dict[str, str]:
        """Each parameter once; an empty one counts as absent (RFC 6749, section 3.2)."""
        try:
            body = await self._intake.body(request, FORM)
            pairs = parse_qsl(body.decode("ascii"), errors="strict", max_num_fields=MAX_FIELDS)
        except Problem as error:
            raise OAuthError("invalid_request", error.detail, 400 if error.status == 415 else error.status) from error  # noqa: PLR2004  RFC 6749 knows 400
        except ValueError as error:
            raise OAuthError("invalid_request", "the body is no form") from error
        fields = dict(pairs)
        if len(fields) != len(pairs):
            raise OAuthError("invalid_request", "a parameter is repeated")
        return fields


def failed() -> web.Response:
    """The 500 in OAuth's form."""
    return OAuthError("server_error", "the request failed; it is safe to send it again", 500).response()


def unavailable(retry_after_seconds: int) -> web.Response:
    """The 503 in OAuth's form; the token that was sent stays valid."""
    return OAuthError("temporarily_unavailable", "send it again", 503, retry_after_seconds).response()


def _refresh_token(fields: dict[str, str]) -> str:
    if "grant_type" not in fields:
        raise OAuthError("invalid_request", "grant_type is missing")
    if fields["grant_type"] != "refresh_token":
        raise OAuthError("unsupported_grant_type", "only refresh_token is supported")
    if "scope" in fields:
        raise OAuthError("invalid_scope", "there are no scopes")
    if "refresh_token" not in fields:
        raise OAuthError("invalid_request", "refresh_token is missing")
    return fields["refresh_token"]


def _token_to_revoke(fields: dict[str, str]) -> str:
    if "token" not in fields:
        raise OAuthError("invalid_request", "token is missing")
    return fields["token"]


def _too_many(error: TooManyAttemptsError) -> OAuthError:
    description = f"too many attempts of one {error.payer}"
    return OAuthError("temporarily_unavailable", description, 429, error.retry_after_seconds)


def _metadata(public_url: str) -> dict[str, object]:
    return {
        "issuer": public_url,
        "token_endpoint": f"{public_url}{TOKEN_PATH}",
        "revocation_endpoint": f"{public_url}{REVOKE_PATH}",
        "jwks_uri": f"{public_url}{JWKS_PATH}",
        "response_types_supported": [],
        "grant_types_supported": ["refresh_token"],
        "token_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "service_documentation": f"{public_url}/api/v1/spec",
    }


def _jwk(kid: str, key: RSAPublicKey) -> dict[str, str]:
    numbers = key.public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": kid,
        "n": _base64url(numbers.n),
        "e": _base64url(numbers.e),
    }


def _base64url(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(body: object, status: int, headers: dict[str, str]) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type=JSON, headers=headers)
