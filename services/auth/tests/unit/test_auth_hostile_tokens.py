"""Only what auth signed with RS256 is trusted: every way around it that we know of has its test."""

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from metering_auth.domain import tokens
from metering_auth.domain.tokens import Claims, SigningMaterial, TokenRefusedError, TokenUse

pytestmark = pytest.mark.fast

NOW = 1_773_241_518
OURS = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
OTHERS = rsa.generate_private_key(public_exponent=65_537, key_size=2048)
KEYS = {"0123456789abcdef": OURS.public_key()}
KID = next(iter(KEYS))
CLAIMS = Claims(
    token_id=UUID("d89a44f6-2a67-41fe-be91-2b5139d092e6"),
    issued_at=NOW - 60,
    expires_at=NOW + 3_600,
    provider_id=1,
    gateway_id=2,
    use=TokenUse.REFRESH,
)
PAYLOAD: dict[str, Any] = {
    "jti": str(CLAIMS.token_id),
    "iat": CLAIMS.issued_at,
    "exp": CLAIMS.expires_at,
    "aud": "1",
    "iss": "Provider Auth Server",
    "sub": "2",
    "token_use": "refresh",
}


def read(token: str, use: TokenUse = TokenUse.REFRESH) -> Claims:
    return tokens.read(token, use, KEYS, OURS.public_key(), NOW)


def refused(token: str, use: TokenUse = TokenUse.REFRESH) -> str:
    with pytest.raises(TokenRefusedError) as caught:
        read(token, use)
    return caught.value.reason


def base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def made(header: dict[str, Any] | None = None, payload: Any = None, key: rsa.RSAPrivateKey = OURS) -> str:
    """Signed RS256, with whatever header and payload."""
    full = {"alg": "RS256", "typ": "JWT", "kid": KID, **(header or {})}
    text = json.dumps(PAYLOAD if payload is None else payload)
    signed = f"{base64url(json.dumps(full).encode())}.{base64url(text.encode())}"
    return f"{signed}.{base64url(key.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


def test_what_auth_signs_it_reads_back() -> None:
    assert read(tokens.sign(CLAIMS, SigningMaterial(KID, OURS))) == CLAIMS


def test_the_token_has_exactly_the_published_claims_and_token_use() -> None:
    token = tokens.sign(CLAIMS, SigningMaterial(KID, OURS))
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT", "kid": KID}
    assert jwt.decode(token, options={"verify_signature": False}) == PAYLOAD


def test_the_same_claims_under_the_same_key_are_the_same_text() -> None:
    material = SigningMaterial(KID, OURS)
    assert tokens.sign(CLAIMS, material) == tokens.sign(CLAIMS, material)


def test_no_signature_at_all_is_refused() -> None:
    header = base64url(json.dumps({"alg": "none", "typ": "JWT", "kid": KID}).encode())
    assert refused(f"{header}.{base64url(json.dumps(PAYLOAD).encode())}.") == "wrong_algorithm"


@pytest.mark.parametrize("name", ["none", "None", "NONE", "HS256", "RS384", "PS256", "ES256", "", None, ["RS256"], 256])
def test_another_algorithm_is_refused_even_over_a_good_signature(name: object) -> None:
    assert refused(made({"alg": name})) in {"wrong_algorithm", "malformed"}


def test_hs256_with_the_public_key_as_secret_is_refused() -> None:
    secret = OURS.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = base64url(json.dumps({"alg": "HS256", "typ": "JWT", "kid": KID}).encode())
    signed = f"{header}.{base64url(json.dumps(PAYLOAD).encode())}"
    signature = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    assert refused(f"{signed}.{base64url(signature)}") == "wrong_algorithm"


def test_an_elliptic_signature_under_our_header_is_refused() -> None:
    signed = made().rpartition(".")[0]
    signature = ec.generate_private_key(ec.SECP256R1()).sign(signed.encode(), ec.ECDSA(SHA256()))
    assert refused(f"{signed}.{base64url(signature)}") == "bad_signature"


@pytest.mark.parametrize(
    "kid",
    [
        "../../etc/passwd",
        "/dev/null",
        "..\\..\\key",
        "0123456789abcdef/../x",
        "'; DROP TABLE signing_key; --",
        "0123456789abcdef\n",
        "\u0000",
        "x" * 65,
        "",
        None,
        7,
        {"kid": "x"},
    ],
)
def test_a_kid_that_is_no_plain_name_is_refused(kid: object) -> None:
    assert refused(made({"kid": kid})) in {"malformed_kid", "malformed", "unknown_kid"}


def test_an_unknown_kid_is_refused_though_the_signature_is_ours() -> None:
    assert refused(made({"kid": "fedcba9876543210"})) == "unknown_kid"


def test_a_token_without_kid_is_refused() -> None:
    assert refused(jwt.encode(PAYLOAD, OURS, algorithm="RS256")) == "unexpected_header"


@pytest.mark.parametrize("name", ["jku", "x5u", "jwk", "x5c", "crit", "b64", "cty"])
def test_headers_that_bring_their_own_key_are_refused_unread(name: str) -> None:
    assert refused(made({name: "https://attacker.example/jwks.json"})) in {"unexpected_header", "malformed"}


def test_a_token_signed_by_somebody_else_is_refused() -> None:
    assert refused(made(key=OTHERS)) == "bad_signature"


def test_a_token_of_another_issuer_is_refused() -> None:
    assert refused(made(payload=PAYLOAD | {"iss": "https://auth.example"})) == "other_issuer"


@pytest.mark.parametrize(("ahead", "good"), [(30, True), (31, False), (86_400, False)])
def test_a_future_iat_is_refused_beyond_the_leeway(ahead: int, good: bool) -> None:  # noqa: FBT001  the case
    token = made(payload=PAYLOAD | {"iat": NOW + ahead})
    assert (read(token).issued_at == NOW + ahead) if good else refused(token) == "issued_in_the_future"


@pytest.mark.parametrize(("ago", "good"), [(29, True), (30, False), (86_400, False)])
def test_an_expired_token_is_refused_beyond_the_leeway(ago: int, good: bool) -> None:  # noqa: FBT001  the case
    token = made(payload=PAYLOAD | {"exp": NOW - ago})
    assert (read(token).expires_at == NOW - ago) if good else refused(token) == "expired"


@pytest.mark.parametrize("use", list(TokenUse))
def test_access_and_refresh_are_told_apart(use: TokenUse) -> None:
    other = next(each for each in TokenUse if each is not use)
    assert refused(made(payload=PAYLOAD | {"token_use": use.value}), other) == "wrong_use"


@pytest.mark.parametrize("name", sorted(PAYLOAD))
def test_a_token_without_one_of_its_claims_is_refused(name: str) -> None:
    assert refused(made(payload={key: value for key, value in PAYLOAD.items() if key != name})) == "malformed_claims"


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": 1},
        {"aud": ["1"]},
        {"aud": "01"},
        {"aud": "-1"},
        {"aud": "9" * 40},
        {"sub": 2},
        {"sub": "\u0662"},
        {"iat": "1773241518"},
        {"iat": 1.5},
        {"exp": None},
        {"jti": "29"},
        {"token_use": "both"},
    ],
)
def test_claims_of_another_type_are_refused(changed: dict[str, Any]) -> None:
    assert refused(made(payload=PAYLOAD | changed)) == "malformed_claims"


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b", "a.b.c.d", "Bearer x.y.z", "x" * 5_000, "eyJ.é.x", "ey J.a.b", "\ud800.a.b"]
)
def test_what_has_not_the_shape_of_a_token_is_refused(text: str) -> None:
    assert refused(text) == "malformed"


@pytest.mark.parametrize("payload", [[], "x", 7, None, {"jti": {}}])
def test_a_payload_that_is_no_object_of_ours_is_refused(payload: object) -> None:
    token = made(payload=payload if payload is not None else "null")
    assert refused(token) == "malformed_claims"


def test_a_changed_signature_is_refused() -> None:
    token = made()
    flipped = "A" if token[-10] != "A" else "B"
    assert refused(token[:-10] + flipped + token[-9:]) == "bad_signature"


def test_a_fingerprint_is_of_the_whole_text() -> None:
    token = made()
    assert tokens.fingerprint(token) == hashlib.sha256(token.encode()).digest()
    assert tokens.fingerprint("\ud800") != tokens.fingerprint("?")


class CountingKey:
    """A public key that counts how often it is asked."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        self.verifications = 0
        self._key = key

    def verify(self, *arguments: Any) -> None:
        self.verifications += 1
        self._key.verify(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


rsa.RSAPublicKey.register(CountingKey)


@pytest.mark.parametrize("header", [{}, {"kid": "fedcba9876543210"}])
@pytest.mark.parametrize("key", [OURS, OTHERS])
def test_every_token_costs_one_verification_whether_its_kid_is_known_or_not(
    header: dict[str, Any], key: rsa.RSAPrivateKey
) -> None:
    """Counted, not timed: the time taken tells nobody which keys exist."""
    counting = CountingKey(OURS.public_key())
    key_of_ours: Any = counting
    with suppress(TokenRefusedError):
        tokens.read(made(header, key=key), TokenUse.REFRESH, {KID: key_of_ours}, key_of_ours, NOW)
    assert counting.verifications == 1
