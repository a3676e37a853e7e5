"""Who sends: an access token is trusted by signature and registry alone (docs/architecture.md, *Tokens*)."""

from hashlib import sha256
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.types import Options

from metering_common.contract.tokens import ALGORITHM, ISSUER, LEEWAY_SECONDS
from metering_common.http.problems import Problem, unauthorized
from metering_common.registry.documents import Gateway, KeyState, Provider, SigningKey
from metering_common.registry.memory import Registry

VERIFIED_TOKENS = 100_000
"""At most so many are remembered, about 300 bytes each; the one remembered first goes first."""

_DECODING: Options = {
    "verify_aud": False,
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class UnknownToRegistryError(Exception):
    """The registry does not hold what the token names: perhaps not yet."""


class Sender(NamedTuple):
    """What a verified token says; `standing` is asked again on every use."""

    provider: int
    gateway: int
    kid: str
    issued_at: int
    expires_at: int


class Tokens:
    """Remembers whose signature was verified, by the token's digest, and asks the registry on every use."""

    def __init__(self, registry: Registry, capacity: int = VERIFIED_TOKENS) -> None:
        self._registry = registry
        self._capacity = capacity
        self._verified: dict[bytes, Sender] = {}
        self._public_keys: dict[str, RSAPublicKey] = {}

    def __len__(self) -> int:
        return len(self._verified)

    def sender(self, token: str, now_seconds: float) -> Sender:
        """Raises a 401 `Problem`, or `UnknownToRegistryError` when that may be staleness."""
        digest = sha256(token.encode("utf-8", "surrogateescape")).digest()
        sender = self._verified.get(digest)
        if sender is None:
            sender = self._verify(token)
            _check_standing(sender, self._registry, now_seconds)
            self._remember(digest, sender)
            return sender
        try:
            _check_standing(sender, self._registry, now_seconds)
        except Problem:
            del self._verified[digest]
            raise
        return sender

    def _remember(self, digest: bytes, sender: Sender) -> None:
        if len(self._verified) >= self._capacity:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = sender

    def _verify(self, token: str) -> Sender:
        key = self._key_of(token)
        try:
            claims = jwt.decode(token, self._public_key(key), algorithms=[ALGORITHM], options=_DECODING)
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise _invalid("the signature does not verify") from error
        return _read_claims(claims, key.kid, self._registry)

    def _key_of(self, token: str) -> SigningKey:
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            raise _invalid("this is not a JSON Web Token") from error
        if header.get("alg") != ALGORITHM:
            raise _invalid(f"the algorithm is not {ALGORITHM}")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise _invalid("the token does not name its key")
        if (key := self._registry.keys.get(kid)) is None:
            raise UnknownToRegistryError
        return key

    def _public_key(self, key: SigningKey) -> RSAPublicKey:
        """Parsed once per PEM: verifying costs 65 microseconds, parsing as much again."""
        if (public_key := self._public_keys.get(key.public_key)) is None:
            parsed = load_pem_public_key(key.public_key.encode())
            if not isinstance(parsed, RSAPublicKey):
                raise _invalid("the key is not an RSA key")
            public_key = self._public_keys[key.public_key] = parsed
        return public_key


def _read_claims(claims: dict[str, Any], kid: str, registry: Registry) -> Sender:
    """The claims' types are fixed, `aud` is text and equal to the gateway's provider."""
    issued_at, expires_at, subject = claims.get("iat"), claims.get("exp"), claims.get("sub")
    if type(issued_at) is not int or type(expires_at) is not int or not _is_id(subject):
        raise _invalid("the claims iat, exp and sub are not as issued here")
    if claims.get("iss") != ISSUER:
        raise _invalid("the issuer is another one")
    if claims.get("token_use") != "access":
        raise _invalid("this is not an access token")
    if (gateway := registry.gateways.get(int(str(subject)))) is None:
        raise UnknownToRegistryError
    if claims.get("aud") != str(gateway.provider):
        raise _invalid("the audience is not the gateway's provider")
    return Sender(gateway.provider, gateway.id, kid, issued_at, expires_at)


def _is_id(subject: object) -> bool:
    return isinstance(subject, str) and subject.isascii() and subject.isdecimal() and len(subject) <= 18  # noqa: PLR2004  int64


def _check_standing(sender: Sender, registry: Registry, now_seconds: float) -> None:
    """What may change between two uses of a token: the time, its key, its gateway, its provider."""
    gateway, provider = registry.gateways.get(sender.gateway), registry.providers.get(sender.provider)
    key = registry.keys.get(sender.kid)
    if key is None or gateway is None or provider is None:
        raise UnknownToRegistryError
    if key.state is KeyState.WITHDRAWN or (key.accept_until is not None and key.accept_until < now_seconds):
        raise _invalid("the key that signed it is no longer trusted")
    if gateway.provider != sender.provider:
        raise _invalid("the gateway belongs to another provider")
    if _has_lost_its_right(gateway, sender) or _has_lost_its_right(provider, sender):
        raise unauthorized("token_revoked", "the token has been revoked")
    if sender.expires_at + LEEWAY_SECONDS < now_seconds:
        raise unauthorized("token_expired", "the token has expired")
    if sender.issued_at - LEEWAY_SECONDS > now_seconds:
        raise _invalid("the token is issued in the future")


def _has_lost_its_right(owner: Gateway | Provider, sender: Sender) -> bool:
    return not owner.active or (owner.revoked_at is not None and sender.issued_at <= owner.revoked_at)


def _invalid(detail: str) -> Problem:
    return unauthorized("token_invalid", detail)
