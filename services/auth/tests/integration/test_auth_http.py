"""The endpoints as published and as the standards ask: every answer, its form, its headers; hostile tokens; limits."""

import asyncio
import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from statistics import quantiles
from typing import Any, NamedTuple

import aiohttp
import jwt
import pytest
from auth_support import AuthClient

from metering_auth.adapters.http import oauth, refresh_endpoint
from metering_auth.adapters.postgres import owners
from metering_auth.adapters.postgres.issue import TokenIssuer
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.domain.actor import Actor
from metering_auth.domain.tokens import SigningMaterial
from metering_auth.settings import AuthSettings
from metering_common.postgres.pool import TimedPool

OPERATOR = Actor("operator", "test")
PROBLEM = "application/problem+json"
SERIES = 10
EVEN = 1.2  # the slowest kind to the quickest


class Given(NamedTuple):
    """A gateway's first token, the service, and the key that signs."""

    token: str
    client: AuthClient
    material: SigningMaterial


@pytest.fixture
async def given(auth: AuthClient, pool: TimedPool, auth_settings: Callable[..., AuthSettings]) -> Given:
    settings = auth_settings()
    async with pool.acquire() as connection:
        keys = SigningKeys(settings.keyring())
        await keys.load(connection)
        provider = await owners.add_provider(connection, OPERATOR, "Uno")
        gateway = await owners.add_gateway(connection, OPERATOR, provider.id, "Edificio")
        pair = await TokenIssuer(keys, settings.lifetimes()).issue(connection, OPERATOR, gateway.id)
        material = await keys.usable(connection, jwt.get_unverified_header(pair.refresh)["kid"])
    assert material is not None
    return Given(pair.refresh, auth, material)


def forged(given: Given) -> dict[str, str]:
    """Tokens of every kind that must not refresh; all but the last three are signed with auth's own key."""
    material = given.material
    claims = jwt.decode(given.token, options={"verify_signature": False}) | {
        "jti": "d89a44f6-2a67-41fe-be91-2b5139d092e6"
    }

    def signed(changed: dict[str, Any] | None = None, **headers: Any) -> str:
        return jwt.encode(claims | (changed or {}), material.private_key, "RS256", {"kid": material.kid, **headers})

    now = int(time.time())
    header, _, signature = given.token.split(".")
    none = jwt.encode(claims, "", "none", {"kid": material.kid})
    secret = b"-----BEGIN PUBLIC KEY-----"
    unsigned = jwt.encode(claims, "x" * 40, "HS256", {"kid": material.kid}).rpartition(".")[0]
    confused = f"{unsigned}.{hmac.new(secret, unsigned.encode(), hashlib.sha256).hexdigest()}"
    return {
        "unknown": signed(),
        "access": signed({"token_use": "access"}),
        "other issuer": signed({"iss": "https://auth.example"}),
        "future": signed({"iat": now + 3_600}),
        "expired": signed({"exp": now - 3_600}),
        "jku": signed(jku="https://attacker.example/jwks.json"),
        "x5u": signed(x5u="https://attacker.example/cert.pem"),
        "kid path": signed(kid="../../../dev/null"),
        "kid unknown": signed(kid="fedcba9876543210"),
        "none": none,
        "hs256": confused,
        "cut": f"{header}.eyJ9.{signature}",
    }


async def test_no_forged_token_refreshes_and_nothing_more_is_told(given: Given) -> None:
    """Only of an expired one, well signed, that it has expired. The standard endpoints answer in their own forms."""
    answers = set()
    for name, token in forged(given).items():
        status, body, headers = await given.client.post_json(refresh_endpoint.PATH, {"refreshToken": token})
        assert status == 401, name
        challenge = f'Bearer error="invalid_token", error_description="{body["detail"]}"'
        assert headers["WWW-Authenticate"] == challenge
        assert headers["Content-Type"].startswith(PROBLEM)
        assert headers["Cache-Control"] == "no-store"
        assert body.pop("instance")
        assert body["code"] == ("token_expired" if name == "expired" else "token_invalid")
        answers.add(json.dumps(body))
        status, error, _ = await given.client.grant(token)
        assert (status, error and error["error"]) == (400, "invalid_grant"), name
        status, error, _ = await given.client.post_form(oauth.REVOKE_PATH, {"token": token})
        wanted = (400, "unsupported_token_type") if name == "access" else (200, None)
        assert (status, error and error["error"]) == wanted, name
    assert len(answers) == 2
    assert (await given.client.refresh(given.token))[0] == 200


JSON, FORM = "application/json", "application/x-www-form-urlencoded"
WRONG_BODIES = [
    (b"{", JSON, 400, "malformed_body"),
    (b"\xff", JSON, 400, "malformed_body"),
    (b"[" * 5_000 + b"]" * 5_000, JSON, 400, "malformed_body"),
    (b"[]", JSON, 422, "wrong_shape"),
    (b"{}", JSON, 422, "wrong_shape"),
    (b'{"refreshToken": null}', JSON, 422, "wrong_shape"),
    (b'{"refreshToken": 7}', JSON, 422, "wrong_shape"),
    (b'{"refreshToken": ""}', JSON, 401, "token_invalid"),
    (b'{"refreshToken": "' + b"x" * 17_000 + b'"}', JSON, 413, "body_too_large"),
    (b"refreshToken=x", FORM, 415, "unsupported_media_type"),
]


async def test_a_request_that_is_not_as_published_is_told_what_to_change(auth: AuthClient) -> None:
    async with aiohttp.ClientSession(auth.base_url) as session:
        for content, kind, status, code in WRONG_BODIES:
            async with session.post(refresh_endpoint.PATH, data=content, headers={"Content-Type": kind}) as answer:
                body = await answer.json(content_type=PROBLEM)
            assert (answer.status, body["code"], body["status"]) == (status, code, status), content[:40]
            assert set(body) == {"type", "title", "status", "detail", "instance", "code"}


async def test_other_methods_types_and_encodings_are_refused(auth: AuthClient) -> None:
    async with aiohttp.ClientSession(auth.base_url) as session:
        async with session.get(refresh_endpoint.PATH) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        async with session.post(refresh_endpoint.PATH, json={}, headers={"Accept": "text/html"}) as answer:
            assert answer.status == 406
        async with session.post(
            refresh_endpoint.PATH, data=b"x", headers={"Content-Encoding": "gzip", "Content-Type": "application/json"}
        ) as answer:
            assert answer.status == 415
        async with session.get("/api/v1/auth/nothing") as answer:
            assert (answer.status, answer.content_type) == (404, PROBLEM)


async def test_a_body_that_comes_without_length_is_capped_too(auth: AuthClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1_024

    headers = {"Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(auth.base_url + refresh_endpoint.PATH, data=endless(), headers=headers) as answer,
    ):
        assert answer.status == 413


async def test_a_body_that_does_not_come_is_not_waited_for(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]],
) -> None:
    async with start_auth(body_seconds=0.2) as client:
        port = int(client.base_url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {refresh_endpoint.PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode())
        writer.write(b"Content-Length: 100\r\n\r\n{")
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        await writer.wait_closed()


async def test_the_standard_grant_answers_as_rfc_6749_says(given: Given) -> None:
    status, body, headers = await given.client.grant(given.token)
    assert status == 200
    assert body is not None
    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 10_800)
    assert (headers["Cache-Control"], headers["Pragma"]) == ("no-store", "no-cache")


WRONG_GRANTS: list[tuple[Any, str]] = [
    ({}, "invalid_request"),
    ({"grant_type": "refresh_token"}, "invalid_request"),
    ({"grant_type": "", "refresh_token": "x"}, "invalid_request"),
    ([("grant_type", "refresh_token"), ("grant_type", "refresh_token")], "invalid_request"),
    ({"grant_type": "password", "username": "x", "password": "y"}, "unsupported_grant_type"),
    ({"grant_type": "refresh_token", "refresh_token": "x.y.z"}, "invalid_grant"),
    ({"grant_type": "refresh_token", "refresh_token": "x.y.z", "scope": "all"}, "invalid_scope"),
]


async def test_the_standard_grants_errors_are_rfc_6749s(auth: AuthClient) -> None:
    for fields, error in WRONG_GRANTS:
        status, body, headers = await auth.post_form(oauth.TOKEN_PATH, fields)
        assert (status, body and body["error"]) == (400, error), fields
        assert headers["Content-Type"].startswith("application/json")
        assert headers["Cache-Control"] == "no-store"


async def test_a_token_given_up_ends_its_family_and_giving_it_up_again_is_fine(given: Given) -> None:
    successor = await given.client.rotated(given.token)
    for _ in range(2):
        status, body, _ = await given.client.post_form(
            oauth.REVOKE_PATH, {"token": given.token, "token_type_hint": "x"}
        )
        assert (status, body) == (200, None)
    assert (await given.client.refresh(successor))[0] == 401
    status, body, _ = await given.client.post_form(oauth.REVOKE_PATH, {})
    assert (status, body and body["error"]) == (400, "invalid_request")


async def test_attempts_are_limited_per_gateway(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]], given: Given
) -> None:
    async with start_auth(attempts_per_gateway_per_minute=3) as client:
        statuses = [(await client.refresh(given.token))[0] for _ in range(4)]
        status, body, headers = await client.post_json(refresh_endpoint.PATH, {"refreshToken": given.token})
        assert statuses == [200, 200, 200, 429]
        assert (status, body["code"]) == (429, "rate_attempts")
        assert 1 <= int(headers["Retry-After"]) <= 20
        assert (await client.refresh(forged(given)["unknown"]))[0] == 401


async def test_attempts_are_limited_per_address_behind_the_load_balancer(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]], given: Given
) -> None:
    """A made-up X-Forwarded-For before the balancer's own entry does not help."""
    async with start_auth(failures_per_address_per_minute=2) as client:
        one, other = {"X-Forwarded-For": "10.9.9.9, 192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        assert [(await client.refresh("x.y.z", one))[0] for _ in range(3)] == [401, 401, 429]
        assert (await client.refresh("x.y.z", {"X-Forwarded-For": "10.1.1.1, 192.0.2.1"}))[0] == 429
        assert (await client.refresh(given.token, other))[0] == 200
        status, body, headers = await client.post_json(refresh_endpoint.PATH, {"refreshToken": "x.y.z"}, one)
        assert (status, body["code"], body["limit"]["scope"]) == (429, "rate_attempts", "address, per pod")
        assert int(headers["Retry-After"]) >= 1


async def test_junk_from_behind_the_same_address_refuses_nobody_elses_good_token(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]], given: Given
) -> None:
    """NAT, or an ingress that hides addresses: the junk is 429 after a while, the neighbours' refreshes never are."""
    async with start_auth(failures_per_address_per_minute=5) as client:
        token = given.token
        for _ in range(10):
            bad = [(await client.refresh("x.y.z"))[0] for _ in range(4)]
            token = await client.rotated(token)
        assert bad == [429] * 4
        assert (await client.post_form(oauth.REVOKE_PATH, {"token": "x.y.z"}))[0] == 429
        assert (await client.post_form(oauth.REVOKE_PATH, {"token": token}))[0] == 200


async def test_a_failed_request_is_counted_whatever_fails(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]],
) -> None:
    """Bodies that cannot be read, wrong types, tokens that nest too deep: five are answered, the sixth is 429."""
    nested = urlsafe_b64encode(b'{"a":' * 600).decode().rstrip("=") + ".e30.c2ln"
    bodies = [b'{"a":' * 3_000, b"{", b"[]", b'{"refreshToken": "%s"}' % nested.encode(), b'{"refreshToken": 1}']
    async with start_auth(failures_per_address_per_minute=5) as client, aiohttp.ClientSession() as session:

        async def status(content: bytes) -> int:
            url, headers = client.base_url + refresh_endpoint.PATH, {"Content-Type": JSON}
            async with session.post(url, data=content, headers=headers) as answer:
                return answer.status

        assert [await status(content) for content in bodies] == [400, 400, 422, 401, 422]
        assert await status(b'{"a":' * 3_000) == 429


async def test_only_an_address_is_trusted_of_a_proxy_and_a_network_of_ipv6_counts_as_one(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]],
) -> None:
    """Text that is no address does not get into the logs and has no limit of its own; 2^64 addresses have one."""
    async with start_auth(failures_per_address_per_minute=2) as client:

        async def statuses(*addresses: str) -> list[int]:
            return [(await client.refresh("x.y.z", {"X-Forwarded-For": each}))[0] for each in addresses]

        assert await statuses("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:0:9::3") == [401, 401, 429]
        assert await statuses("2001:db8:0:1::1", "::ffff:192.0.2.7", "192.0.2.7", "192.0.2.7") == [401, 401, 401, 429]
        assert await statuses("me", "<script>", "you, me", "127.0.0.1") == [401, 401, 429, 429]


async def test_the_time_taken_does_not_tell_an_unknown_token_from_a_wrong_one(given: Given) -> None:
    """Unknown but well signed, signed by nobody, under a key that is not ours: sent in turns, and the quickest tenth of
    each compared, since the rest is the machine's. What one of them costs more it costs in every series; noise does not
    last that long, so one even series is enough.
    """
    kinds = {"unknown", "cut", "kid unknown"}
    tokens = {name: token for name, token in forged(given).items() if name in kinds}
    for _ in range(SERIES):
        quick = await quickest_tenths(given.client, tokens)
        print(f"401 after {', '.join(f'{value:.2f} ms ({name})' for name, value in quick.items())}")  # noqa: T201  the figures
        if max(quick.values()) / min(quick.values()) < EVEN:
            return
    raise AssertionError(f"uneven in {SERIES} series, at last {quick}")


async def quickest_tenths(client: AuthClient, tokens: dict[str, str]) -> dict[str, float]:
    """Milliseconds by name."""
    spent: dict[str, list[float]] = {name: [] for name in tokens}
    for _ in range(60):
        for name, token in tokens.items():
            since = time.perf_counter()
            assert (await client.refresh(token))[0] == 401
            spent[name].append(time.perf_counter() - since)
    return {name: quantiles(times, n=10)[0] * 1_000 for name, times in spent.items()}


async def test_while_the_database_is_away_the_answer_is_503_and_the_token_stays_good(
    given: Given, pool: TimedPool
) -> None:
    """Its tables are locked by somebody: the refresh gives up within its statement's time, nothing is lost."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("LOCK TABLE refresh_token IN ACCESS EXCLUSIVE MODE")
        status, body, headers = await given.client.post_json(refresh_endpoint.PATH, {"refreshToken": given.token})
        assert (status, body["code"], headers["Retry-After"]) == (503, "tokens_unavailable", "5")
        status, error, _ = await given.client.grant(given.token)
        assert (status, error and error["error"]) == (503, "temporarily_unavailable")
    assert (await given.client.refresh(given.token))[0] == 200
