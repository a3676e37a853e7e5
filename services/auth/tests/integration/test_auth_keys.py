"""Keys that rotate unnoticed: under load, withdrawn, rewrapped, and as third parties see them."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt
import pytest
from auth_support import AuthClient
from pydantic import SecretStr

from metering_auth.adapters.http import oauth
from metering_auth.adapters.postgres import owners
from metering_auth.adapters.postgres.issue import TokenIssuer
from metering_auth.adapters.postgres.key_lifecycle import KeyLifecycle, list_keys
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.domain.actor import Actor
from metering_auth.settings import AuthSettings
from metering_common.postgres.pool import TimedPool
from metering_common.registry.documents import KeyState
from metering_common.registry.replica import RegistryReplica
from metering_common.service.clock import SystemClock
from metering_common.service.sealed import Keyring, MasterKey, UnknownMasterKeyError, master_key_id
from metering_common.service.settings import KafkaSettings

OPERATOR = Actor("operator", "test")
WAIT_SECONDS = 30
START = Callable[..., AbstractAsyncContextManager[AuthClient]]


@dataclass
class IngestService:
    """What every ingest replica does with an access token: signature by the replicated key, then the registry."""

    replica: RegistryReplica

    async def lets_in(self, token: str) -> bool:
        kid = jwt.get_unverified_header(token)["kid"]
        if kid not in self.replica.registry.keys:
            assert await self.replica.catch_up()
        key = self.replica.registry.keys.get(kid)
        if key is None or key.state is KeyState.WITHDRAWN:
            return False
        options: Any = {"verify_aud": False, "verify_iat": False}
        claims = jwt.decode(token, key.public_key, algorithms=["RS256"], leeway=30, options=options)
        if int(claims["sub"]) not in self.replica.registry.gateways:
            assert await self.replica.catch_up()
        gateway = self.replica.registry.gateways[int(claims["sub"])]
        revoked = gateway.revoked_at is not None and claims["iat"] <= gateway.revoked_at
        accepted = key.accept_until is None or claims["iat"] < key.accept_until
        return accepted and gateway.active and not revoked


@pytest.fixture
def ingest_api(kafka: KafkaSettings) -> Callable[[], AbstractAsyncContextManager[IngestService]]:
    @asynccontextmanager
    async def opened() -> AsyncIterator[IngestService]:
        async with RegistryReplica.open(kafka, SystemClock()) as replica:
            await asyncio.wait_for(replica.wait_ready(), WAIT_SECONDS)
            yield IngestService(replica)

    return opened


@pytest.fixture
def issue(pool: TimedPool, auth_settings: Callable[..., AuthSettings]) -> Callable[[int], "asyncio.Future[list[str]]"]:
    """First refresh tokens of so many new gateways."""

    async def tokens(count: int) -> list[str]:
        settings = auth_settings()
        async with pool.acquire() as connection:
            keys = SigningKeys(settings.keyring())
            await keys.load(connection)
            issuer = TokenIssuer(keys, settings.lifetimes())
            provider = await owners.add_provider(connection, OPERATOR, "Uno")
            gateways = [await owners.add_gateway(connection, OPERATOR, provider.id, f"G{n}") for n in range(count)]
            return [(await issuer.issue(connection, OPERATOR, gateway.id)).refresh for gateway in gateways]

    return tokens  # type: ignore[return-value]  # a coroutine function is awaited like a future


def lifecycle(settings: AuthSettings) -> KeyLifecycle:
    return KeyLifecycle(settings.keyring(), settings.key_times())


async def active_kid(pool: TimedPool) -> str:
    return str(await pool.fetchval("SELECT kid FROM signing_key WHERE state = 'active'"))


async def rotate_and_wait(pool: TimedPool, settings: AuthSettings) -> str:
    async with pool.acquire() as connection:
        kid = await lifecycle(settings).rotate(connection, OPERATOR)
    async with asyncio.timeout(WAIT_SECONDS):
        while await active_kid(pool) != kid:  # noqa: ASYNC110  the database has no event for it
            await asyncio.sleep(0.05)
    return kid


async def test_two_rotations_under_load_cost_no_401(
    start_auth: START,
    auth_settings: Callable[..., AuthSettings],
    pool: TimedPool,
    ingest_api: Callable[[], AbstractAsyncContextManager[IngestService]],
    issue: Callable[[int], Any],
) -> None:
    """Gateways refresh all the time and show each access token at ingest-api; the first ones at the end too."""
    quick = {"key_publish_seconds": 1, "schedule_seconds": 0.2}
    async with start_auth(**quick) as client, ingest_api() as opened:
        first = await issue(4)
        kept, turns, over = [], [0], asyncio.Event()

        async def gateway(token: str) -> None:
            while not over.is_set():
                status, body = await client.refresh(token)
                assert status == 200
                assert await opened.lets_in(body["accessToken"])
                kept.append(body["accessToken"])
                token = body["refreshToken"]
                turns[0] += 1

        async with asyncio.TaskGroup() as gateways:
            for token in first:
                gateways.create_task(gateway(token))
            for _ in range(2):
                await rotate_and_wait(pool, auth_settings(**quick))
                await asyncio.sleep(0.5)
            over.set()
        signed_by = {jwt.get_unverified_header(token)["kid"] for token in kept}
        assert len(signed_by) == 3
        assert all([await opened.lets_in(token) for token in kept])
        print(f"{turns[0]} refreshes over two rotations, {len(kept)} access tokens shown twice, no 401")  # noqa: T201  the figure


async def test_a_refresh_token_of_a_retiring_or_withdrawn_key_still_refreshes(
    start_auth: START,
    auth_settings: Callable[..., AuthSettings],
    pool: TimedPool,
    ingest_api: Callable[[], AbstractAsyncContextManager[IngestService]],
    issue: Callable[[int], Any],
) -> None:
    quick = {"key_publish_seconds": 0, "schedule_seconds": 0.2}
    async with start_auth(**quick) as client, ingest_api() as opened:
        retiring, withdrawn = await issue(2)
        old = await active_kid(pool)
        await rotate_and_wait(pool, auth_settings(**quick))
        assert (await client.refresh(retiring))[0] == 200
        _, before = await client.refresh(withdrawn)
        async with pool.acquire() as connection:
            assert await lifecycle(auth_settings()).withdraw(connection, OPERATOR, old) is None
        assert (await client.refresh(before["refreshToken"]))[0] == 200
        assert await opened.lets_in(before["accessToken"])
        assert await pool.fetchval("SELECT private_sealed IS NULL FROM signing_key WHERE kid = $1", old)


async def test_withdrawing_the_active_key_ends_its_access_tokens_within_2_seconds(
    start_auth: START,
    auth_settings: Callable[..., AuthSettings],
    pool: TimedPool,
    ingest_api: Callable[[], AbstractAsyncContextManager[IngestService]],
    issue: Callable[[int], Any],
) -> None:
    async with start_auth() as client, ingest_api() as opened:
        (first,) = await issue(1)
        _, stolen = await client.refresh(first)
        assert await opened.lets_in(stolen["accessToken"])
        old = await active_kid(pool)
        async with pool.acquire() as connection:
            instead = await lifecycle(auth_settings()).withdraw(connection, OPERATOR, old)
        async with asyncio.timeout(2):
            while await opened.lets_in(stolen["accessToken"]):  # noqa: ASYNC110  polled as a test from outside would
                await asyncio.sleep(0.02)
        status, repeated = await client.refresh(first)
        assert status == 200
        assert jwt.get_unverified_header(repeated["refreshToken"])["kid"] == instead
        assert jwt_claims(repeated["refreshToken"]) == jwt_claims(stolen["refreshToken"])
        assert await opened.lets_in(repeated["accessToken"])
        assert (await client.refresh(repeated["refreshToken"]))[0] == 200


async def test_the_master_key_can_be_changed(
    start_auth: START, auth_settings: Callable[..., AuthSettings], pool: TimedPool, issue: Callable[[int], Any]
) -> None:
    """Both are configured, rewrap, then only the new one: no token is lost, and the old one opens nothing any more."""
    async with start_auth() as client:
        (token,) = await issue(1)
        token = await client.rotated(token)
    new = SecretStr(base64.urlsafe_b64encode(os.urandom(32)).decode())
    old = auth_settings().key_encryption_key
    async with pool.acquire() as connection:
        both = auth_settings(key_encryption_key=new, key_encryption_key_previous=old)
        assert await lifecycle(both).rewrap(connection, OPERATOR) == 1
        assert await lifecycle(both).rewrap(connection, OPERATOR) == 0
        (key,) = await list_keys(connection)
        assert key["master_key_id"] == MasterKey.parse(new).id
        sealed = await connection.fetchval("SELECT private_sealed FROM signing_key")
    with pytest.raises(UnknownMasterKeyError):
        Keyring(MasterKey.parse(old)).open(sealed, key["kid"].encode())
    assert master_key_id(sealed) == MasterKey.parse(new).id
    async with start_auth(key_encryption_key=new) as client:
        assert (await client.refresh(token))[0] == 200


async def test_a_replica_repeats_what_another_signed_with_a_key_that_is_new_to_it(
    start_auth: START, auth_settings: Callable[..., AuthSettings], pool: TimedPool, issue: Callable[[int], Any]
) -> None:
    """After an emergency the new key signs at once; the same pair is asked of a replica that has not looked since."""
    slow = {"schedule_seconds": 3_600}
    async with start_auth(**slow) as one, start_auth(**slow) as other:
        (token,) = await issue(1)
        async with pool.acquire() as connection:
            assert await lifecycle(auth_settings()).withdraw(connection, OPERATOR, await active_kid(pool))
        first = await one.refresh(token)
        assert first[0] == 200
        assert await other.refresh(token) == first


async def test_a_key_sealed_under_another_master_key_is_not_made_and_stops_nobody(
    start_auth: START, auth_settings: Callable[..., AuthSettings], pool: TimedPool, issue: Callable[[int], Any]
) -> None:
    """An operator with a wrong AUTH_KEY_ENCRYPTION_KEY is refused; were it there all the same, others sign on."""
    wrong = lifecycle(auth_settings(key_encryption_key=other_master_key()))
    async with start_auth(schedule_seconds=0.1) as client, pool.acquire() as connection:
        (token,) = await issue(1)
        with pytest.raises(UnknownMasterKeyError):
            await wrong.rotate(connection, OPERATOR)
        assert await pool.fetchval("SELECT count(*) FROM signing_key") == 1
        await connection.execute(
            "INSERT INTO signing_key (kid, state, public_key, private_sealed)"
            " SELECT 'feedfeedfeedfeed', 'published', public_key, $1 FROM signing_key",
            Keyring(MasterKey.parse(other_master_key())).seal(b"der", b"feedfeedfeedfeed"),
        )
        await asyncio.sleep(0.5)
        token = await client.rotated(token)
        await connection.execute("UPDATE signing_key SET state = 'withdrawn', accept_until = 0 WHERE state = 'active'")
        await connection.execute("UPDATE signing_key SET state = 'active', active_at = now() WHERE state = 'published'")
        status, body = await client.refresh(token)
        assert (status, body["code"]) == (503, "tokens_unavailable")


def other_master_key() -> SecretStr:
    return SecretStr(base64.urlsafe_b64encode(b"another master key of 32 bytes!!").decode())


async def test_two_replicas_that_start_at_once_make_one_first_key(
    pool: TimedPool, auth_settings: Callable[..., AuthSettings]
) -> None:
    async def start() -> str | None:
        async with pool.acquire() as connection:
            return await lifecycle(auth_settings()).ensure_first(connection)

    made = await asyncio.gather(*(start() for _ in range(3)))
    assert len([kid for kid in made if kid is not None]) == 1
    assert await pool.fetchval("SELECT count(*) FROM signing_key") == 1


async def test_third_parties_find_the_keys_and_may_keep_them(auth: AuthClient, issue: Callable[[int], Any]) -> None:
    (token,) = await issue(1)
    _, body = await auth.refresh(token)
    async with aiohttp.ClientSession(auth.base_url) as session:
        async with session.get(oauth.JWKS_PATH) as answer:
            jwks, etag = await answer.json(), answer.headers["ETag"]
            assert answer.headers["Cache-Control"] == "public, max-age=300"
        (key,) = jwt.PyJWKSet.from_dict(jwks).keys
        assert jwt.decode(body["accessToken"], key.key, algorithms=["RS256"], audience=jwt_claims(token)["aud"])
        assert set(jwks["keys"][0]) == {"kty", "use", "alg", "kid", "n", "e"}
        async with session.get(oauth.JWKS_PATH, headers={"If-None-Match": etag}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
        async with session.get(oauth.METADATA_PATH) as answer:
            metadata = await answer.json()
    assert metadata["issuer"] == "https://auth.example"
    assert metadata["issuer"] != jwt_claims(token)["iss"]
    assert metadata["jwks_uri"] == "https://auth.example" + oauth.JWKS_PATH
    assert metadata["grant_types_supported"] == ["refresh_token"]


def jwt_claims(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
