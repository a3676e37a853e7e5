"""What a gateway shows at ingest-api: the published claims, signed RS256, and how strictly they are read back."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from metering_common.contract.tokens import ALGORITHM, ISSUER, LEEWAY_SECONDS

MAX_TOKEN_CHARACTERS = 4_096
HEADER_NAMES = frozenset({"alg", "typ", "kid"})

_KID = re.compile(r"[A-Za-z0-9-]{1,64}")
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")


class TokenUse(StrEnum):
    """The claim `token_use`, which tells access from refresh."""

    ACCESS = "access"
    REFRESH = "refresh"


class TokenRefusedError(Exception):
    """The token is not one of ours, or not for this use; the reason is for logs and metrics, never the token itself."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Claims:
    """The published claims, times in whole Unix seconds, and `token_use`."""

    token_id: UUID
    issued_at: int
    expires_at: int
    provider_id: int
    gateway_id: int
    use: TokenUse


class VerificationKeys(Protocol):
    """Public keys, by which signatures are checked."""

    @property
    def trusted(self) -> Mapping[str, RSAPublicKey]:
        """By `kid`: those whose signatures count."""
        ...

    @property
    def decoy(self) -> RSAPublicKey:
        """Some public key, to verify against where no key fits."""
        ...


@dataclass(frozen=True)
class SigningMaterial:
    """The private part of one key, and the name under which its public part is known."""

    kid: str
    private_key: RSAPrivateKey


class _WireClaims(msgspec.Struct, frozen=True):
    """As they stand in the token: all required, numbers as text where the document says so."""

    jti: UUID
    iat: int
    exp: int
    aud: str
    iss: str
    sub: str
    token_use: TokenUse


_jws = jwt.PyJWS(algorithms=[ALGORITHM])
_decoder = msgspec.json.Decoder(_WireClaims)


def sign(claims: Claims, material: SigningMaterial) -> str:
    """The token; the same claims under the same key give the same text (RSASSA-PKCS1-v1_5 has no randomness)."""
    wire = _WireClaims(
        jti=claims.token_id,
        iat=claims.issued_at,
        exp=claims.expires_at,
        aud=str(claims.provider_id),
        iss=ISSUER,
        sub=str(claims.gateway_id),
        token_use=claims.use,
    )
    headers = {"typ": "JWT", "kid": material.kid}
    return _jws.encode(msgspec.json.encode(wire), material.private_key, algorithm=ALGORITHM, headers=headers)


def fingerprint(token: str) -> bytes:
    """What is stored of a refresh token: SHA-256 of its text (it holds 122 random bits, so no salt is needed)."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def has_token_shape(token: str) -> bool:
    """Three parts of base64url and no longer than any token of ours."""
    return len(token) <= MAX_TOKEN_CHARACTERS and _SHAPE.fullmatch(token) is not None


def kid_of(token: str) -> str:
    """The key that a token names; raises `TokenRefusedError`. What it names is not trusted before `read`."""
    return _checked_kid(token)


def read(token: str, use: TokenUse, keys: Mapping[str, RSAPublicKey], decoy: RSAPublicKey, now: int) -> Claims:
    """The claims of a well-signed token of this use that is valid now (Unix seconds), else `TokenRefusedError`.

    An unknown `kid` costs a verification too (against `decoy`), so that the time taken does not tell which keys exist.
    """
    kid = _checked_kid(token)
    payload = _verified_payload(token, keys.get(kid, decoy))
    if kid not in keys:
        raise TokenRefusedError("unknown_kid")
    wire = _decoded(payload)
    _check_times(wire, now)
    if wire.token_use is not use:
        raise TokenRefusedError("wrong_use")
    return _from_wire(wire)


def is_signed(token: str, keys: Mapping[str, RSAPublicKey]) -> bool:
    """Whether one of the keys has signed the token, whatever it says. Some key is tried also where none is named."""
    try:
        kid = _checked_kid(token)
        _verified_payload(token, keys[kid] if kid in keys else next(iter(keys.values())))
    except (TokenRefusedError, StopIteration):
        return False
    return kid in keys


def _checked_kid(token: str) -> str:
    """Only `alg`, `typ` and `kid` may stand in the header: `jku`, `x5u`, `jwk` or `crit` are refused unread."""
    if not has_token_shape(token):
        raise TokenRefusedError("malformed")
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, RecursionError) as error:
        raise TokenRefusedError("malformed") from error
    if header.get("alg") != ALGORITHM:
        raise TokenRefusedError("wrong_algorithm")
    if set(header) != HEADER_NAMES or header["typ"] != "JWT":
        raise TokenRefusedError("unexpected_header")
    kid = header["kid"]
    if not isinstance(kid, str) or _KID.fullmatch(kid) is None:
        raise TokenRefusedError("malformed_kid")
    return kid


def _verified_payload(token: str, key: RSAPublicKey) -> bytes:
    try:
        payload = _jws.decode(token, key, algorithms=[ALGORITHM])
    except (jwt.InvalidTokenError, RecursionError) as error:
        raise TokenRefusedError("bad_signature") from error
    return bytes(payload)


def _decoded(payload: bytes) -> _WireClaims:
    try:
        wire = _decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError) as error:
        raise TokenRefusedError("malformed_claims") from error
    if wire.iss != ISSUER:
        raise TokenRefusedError("other_issuer")
    if not (_is_number(wire.aud) and _is_number(wire.sub)):
        raise TokenRefusedError("malformed_claims")
    return wire


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len("2147483647") and text == str(int(text))


def _check_times(wire: _WireClaims, now: int) -> None:
    if wire.iat > now + LEEWAY_SECONDS:
        raise TokenRefusedError("issued_in_the_future")
    if now >= wire.exp + LEEWAY_SECONDS:
        raise TokenRefusedError("expired")


def _from_wire(wire: _WireClaims) -> Claims:
    return Claims(
        token_id=wire.jti,
        issued_at=wire.iat,
        expires_at=wire.exp,
        provider_id=int(wire.aud),
        gateway_id=int(wire.sub),
        use=wire.token_use,
    )
