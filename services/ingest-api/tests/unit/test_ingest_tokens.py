"""Who is trusted: signature, claims and standing, with the clock as an argument."""

import base64
import hashlib
import hmac
import json
import tracemalloc
from typing import Any

import jwt
import pytest
from ingest_api_support import make_token, private_key, public_pem, put, signing_key

from metering_common.http.problems import Problem
from metering_common.registry.documents import Gateway, KeyState, Provider
from metering_common.registry.memory import Registry
from metering_ingest_api.domain.tokens import Tokens, UnknownToRegistryError

pytestmark = pytest.mark.fast

NOW = 1_773_241_518


def refusal(registry: Registry, token: str, now: float = NOW) -> tuple[str, str]:
    with pytest.raises(Problem) as caught:
        Tokens(registry).sender(token, now)
    assert caught.value.status == 401
    return caught.value.code, caught.value.headers["WWW-Authenticate"]


def test_a_good_token_says_who_sends_and_is_remembered(registry: Registry) -> None:
    tokens = Tokens(registry)
    token = make_token(now=NOW)
    first = tokens.sender(token, NOW)
    assert (first.provider, first.gateway, first.kid) == (1, 2, "k1")
    assert tokens.sender(token, NOW) is first
    assert len(tokens) == 1


def test_the_memory_of_verified_tokens_is_bounded(registry: Registry) -> None:
    tokens = Tokens(registry, capacity=3)
    for number in range(10):
        tokens.sender(make_token(now=NOW - number), NOW)
    assert len(tokens) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "4"},
        {"aud": 1},
        {"aud": ["1"]},
        {"aud": None},
        {"iss": "Somebody"},
        {"iss": None},
        {"token_use": "refresh"},
        {"token_use": None},
        {"sub": None},
        {"sub": "-2"},
        {"sub": "٢"},
        {"sub": "9" * 40},
        {"exp": None},
        {"exp": NOW + 0.5},
        {"iat": None},
        {"iat": NOW + 31},
    ],
    ids=str,
)
def test_claims_that_are_not_as_issued_here(registry: Registry, changes: dict[str, Any]) -> None:
    code, challenge = refusal(registry, make_token(now=NOW, **changes))
    assert code == "token_invalid"
    assert challenge.startswith('Bearer error="invalid_token"')


def test_thirty_seconds_of_leeway_on_both_ends(registry: Registry) -> None:
    Tokens(registry).sender(make_token(now=NOW, iat=NOW + 30), NOW)
    Tokens(registry).sender(make_token(now=NOW - 10_830), NOW)
    assert refusal(registry, make_token(now=NOW - 10_831))[0] == "token_expired"


def test_a_remembered_token_expires_too(registry: Registry) -> None:
    tokens, token = Tokens(registry), make_token(now=NOW)
    tokens.sender(token, NOW)
    with pytest.raises(Problem) as caught:
        tokens.sender(token, NOW + 10_831)
    assert caught.value.code == "token_expired"
    assert len(tokens) == 0


def encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def deeply_nested() -> str:
    """As deep as fits into a request's head: the standard library's decoder gives up by RecursionError."""
    header = base64.urlsafe_b64encode(b'{"a":' * 1_200).rstrip(b"=").decode()
    return f"{header}.e30.c2ln"


def forged(header: dict[str, Any]) -> str:
    _, claims, signature = make_token(now=NOW).split(".")
    return f"{encoded(header)}.{claims}.{signature}"


def signed_with_the_public_key() -> str:
    """The old confusion: HS256 with the public key's text as the secret."""
    _, claims, _ = make_token(now=NOW).split(".")
    text = f"{encoded({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{claims}"
    signature = hmac.new(public_pem("k1").encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "token",
    [
        "nonsense",
        "a.b.c",
        "é.é.é",
        "\udcff.x.y",
        "." * 5_000,
        deeply_nested(),
        forged({"alg": "none", "kid": "k1"}),
        forged({"alg": "RS256", "kid": 1}),
        forged({"alg": "RS256"}),
        forged({"alg": "RS384", "kid": "k1"}),
        forged({"alg": "PS256", "kid": "k1"}),
        signed_with_the_public_key(),
        jwt.encode({"sub": "2"}, private_key("another"), algorithm="RS256", headers={"kid": "k1"}),
        make_token(now=NOW)[:-4] + "AAAA",
        make_token(now=NOW).rpartition(".")[0] + ".",
    ],
    ids=lambda token: token[:20].encode("ascii", "replace").decode(),
)
def test_what_was_not_signed_by_us(registry: Registry, token: str) -> None:
    assert refusal(registry, token)[0] == "token_invalid"


def test_a_remembered_token_takes_the_same_memory_however_long_it_is(registry: Registry) -> None:
    tokens = Tokens(registry, capacity=200)
    tracemalloc.start()
    for number in range(400):
        tokens.sender(make_token(now=NOW, jti=f"{number}", more="x" * 5_000), NOW)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(tokens) == 200
    assert size / len(tokens) < 1_000


def test_an_unknown_key_or_gateway_may_be_staleness(registry: Registry) -> None:
    for token in (make_token(now=NOW, kid="k9"), make_token(now=NOW, gateway=99)):
        with pytest.raises(UnknownToRegistryError):
            Tokens(registry).sender(token, NOW)


def test_a_key_that_left_the_registry_is_asked_for_again(registry: Registry) -> None:
    tokens, token = Tokens(registry), make_token(now=NOW)
    tokens.sender(token, NOW)
    registry.apply("key:k1", None)
    with pytest.raises(UnknownToRegistryError):
        tokens.sender(token, NOW)


@pytest.mark.parametrize("state", [KeyState.PUBLISHED, KeyState.ACTIVE, KeyState.RETIRING])
def test_a_key_is_trusted_from_its_publication_on(registry: Registry, state: KeyState) -> None:
    put(registry, signing_key(state=state, accept_until=NOW))
    Tokens(registry).sender(make_token(now=NOW), NOW)


def test_a_withdrawn_or_ended_key_ends_remembered_tokens(registry: Registry) -> None:
    for key in (signing_key(state=KeyState.WITHDRAWN), signing_key(accept_until=NOW - 1)):
        put(registry, signing_key())
        tokens, token = Tokens(registry), make_token(now=NOW)
        tokens.sender(token, NOW)
        put(registry, key)
        with pytest.raises(Problem) as caught:
            tokens.sender(token, NOW)
        assert caught.value.code == "token_invalid"


@pytest.mark.parametrize(
    "document",
    [
        Gateway(id=2, provider=1, name="g", revoked_at=NOW),
        Provider(id=1, name="p", revoked_at=NOW),
        Gateway(id=2, provider=1, name="g", active=False),
        Provider(id=1, name="p", active=False),
    ],
)
def test_revocation_ends_what_was_issued_at_or_before(registry: Registry, document: Gateway | Provider) -> None:
    tokens, token = Tokens(registry), make_token(now=NOW)
    tokens.sender(token, NOW)
    put(registry, document)
    with pytest.raises(Problem) as caught:
        tokens.sender(token, NOW)
    assert caught.value.code == "token_revoked"


def test_what_is_issued_after_a_revocation_is_trusted(registry: Registry) -> None:
    put(registry, Gateway(id=2, provider=1, name="g", revoked_at=NOW - 1))
    Tokens(registry).sender(make_token(now=NOW), NOW)


def test_a_gateway_that_moved_to_another_provider(registry: Registry) -> None:
    tokens, token = Tokens(registry), make_token(now=NOW)
    tokens.sender(token, NOW)
    put(registry, Gateway(id=2, provider=4, name="g"))
    with pytest.raises(Problem, match="another provider"):
        tokens.sender(token, NOW)
