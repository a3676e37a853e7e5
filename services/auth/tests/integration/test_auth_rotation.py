"""Rotation as gateways and thieves meet it, over HTTP and real PostgreSQL, with a clock that the test holds."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import jwt
import pytest
from auth_support import AuthClient, ControlledClock

from metering_auth.adapters.postgres import audit, owners
from metering_auth.adapters.postgres.audit import AuditFilter
from metering_auth.adapters.postgres.issue import TokenIssuer
from metering_auth.adapters.postgres.revocation import RevocationInstant
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.domain.actor import Actor
from metering_auth.settings import AuthSettings
from metering_common.postgres.pool import TimedPool

OPERATOR = Actor("operator", "test")
DAY = 86_400


@dataclass
class Scene:
    """One gateway, its first refresh token, and the clock."""

    client: AuthClient
    clock: ControlledClock
    pool: TimedPool
    issuer: TokenIssuer
    provider: int
    gateway: int
    first: str

    async def another_token(self) -> str:
        async with self.pool.acquire() as connection:
            return (await self.issuer.issue(connection, OPERATOR, self.gateway)).refresh

    async def events(self, action: str) -> list[dict[str, Any]]:
        async with self.pool.acquire() as connection:
            return await audit.events(connection, AuditFilter(action=action))


@pytest.fixture
async def scene(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]],
    auth_settings: Callable[..., AuthSettings],
    pool: TimedPool,
) -> AsyncIterator[Scene]:
    clock = ControlledClock(datetime.now(UTC))
    settings = auth_settings()
    async with start_auth(clock) as client, pool.acquire() as connection:
        provider = await owners.add_provider(connection, OPERATOR, "Uno")
        gateway = await owners.add_gateway(connection, OPERATOR, provider.id, "Edificio")
        keys = SigningKeys(settings.keyring())
        await keys.load(connection)
        issuer = TokenIssuer(keys, settings.lifetimes(), clock)
        first = (await issuer.issue(connection, OPERATOR, gateway.id)).refresh
        yield Scene(client, clock, pool, issuer, provider.id, gateway.id, first)


def claims(token: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return decoded


async def test_a_pair_has_the_published_claims_and_lifetimes(scene: Scene) -> None:
    _, body = await scene.client.refresh(scene.first)
    access, refresh = claims(body["accessToken"]), claims(body["refreshToken"])
    assert set(access) == {"jti", "iat", "exp", "aud", "iss", "sub", "token_use"} == set(refresh)
    assert (access["exp"] - access["iat"], refresh["exp"] - refresh["iat"]) == (10_800, 60 * DAY)
    assert (access["aud"], access["sub"]) == (str(scene.provider), str(scene.gateway))
    assert access["iss"] == refresh["iss"] == "Provider Auth Server"
    assert (access["token_use"], refresh["token_use"]) == ("access", "refresh")
    assert access["jti"] != refresh["jti"]


async def test_a_lost_answer_costs_nothing(scene: Scene) -> None:
    """The same pair again within 60 s, byte for byte; afterwards another, and both successors are good to go on."""
    first_answer = await scene.client.refresh(scene.first)
    scene.clock.advance(60)
    assert await scene.client.refresh(scene.first) == first_answer
    scene.clock.advance(0.001)
    status, second = await scene.client.refresh(scene.first)
    assert status == 200
    assert second != first_answer[1]
    scene.clock.advance(30 * DAY)
    assert (await scene.client.refresh(scene.first))[0] == 200
    assert (await scene.client.refresh(first_answer[1]["refreshToken"]))[0] == 200


async def test_the_60_days_slide(scene: Scene) -> None:
    token = scene.first
    for _ in range(4):
        scene.clock.advance(59 * DAY)
        token = await scene.client.rotated(token)
    scene.clock.advance(60 * DAY)
    status, body = await scene.client.refresh(token)
    assert (status, body["code"]) == (401, "token_expired")


async def test_a_sibling_and_the_predecessor_are_refused_and_nothing_more_for_10_minutes(scene: Scene) -> None:
    sibling = await scene.client.rotated(scene.first)
    scene.clock.advance(61)
    chosen = await scene.client.rotated(scene.first)
    successor = await scene.client.rotated(chosen)
    for seconds in (0, 300, 300):
        scene.clock.advance(seconds)
        for token in (scene.first, sibling):
            status, body = await scene.client.refresh(token)
            assert (status, body["code"]) == (401, "token_invalid")
    assert (await scene.client.refresh(successor))[0] == 200
    assert await scene.events("token.reused") == []


@pytest.mark.parametrize("which", ["predecessor", "sibling"])
async def test_a_thief_who_comes_later_revokes_the_family(scene: Scene, which: str) -> None:
    sibling = await scene.client.rotated(scene.first)
    scene.clock.advance(61)
    chosen = await scene.client.rotated(scene.first)
    successor = await scene.client.rotated(chosen)
    scene.clock.advance(600.001)
    assert (await scene.client.refresh(scene.first if which == "predecessor" else sibling))[0] == 401
    for token in (scene.first, sibling, chosen, successor):
        assert (await scene.client.refresh(token))[0] == 401
    (event,) = await scene.events("token.reused")
    assert event["subject"] == f"gateway:{scene.gateway}"
    assert event["origin"] == "127.0.0.1"


async def test_an_old_ancestor_is_a_reuse_however_far_back(scene: Scene) -> None:
    token = scene.first
    for _ in range(5):
        scene.clock.advance(5_400)
        token = await scene.client.rotated(token)
    assert (await scene.client.refresh(scene.first))[0] == 401
    assert (await scene.client.refresh(token))[0] == 401


async def test_a_gateway_that_reboots_in_a_loop_is_not_locked_out(scene: Scene) -> None:
    """Two processes of one gateway share a token file; the slower one comes with tokens from two turns ago."""
    stale = scene.first
    token = await scene.client.rotated(stale)
    for _ in range(20):
        scene.clock.advance(20)
        previous, token = token, await scene.client.rotated(token)
        assert (await scene.client.refresh(stale))[0] == 401
        stale = previous
    assert (await scene.client.refresh(token))[0] == 200
    assert await scene.events("token.reused") == []


async def test_one_familys_theft_is_nothing_to_another_family_of_the_gateway(scene: Scene) -> None:
    other = await scene.another_token()
    token = await scene.client.rotated(await scene.client.rotated(scene.first))
    scene.clock.advance(601)
    await scene.client.refresh(scene.first)
    assert (await scene.client.refresh(token))[0] == 401
    assert (await scene.client.refresh(other))[0] == 200


async def test_only_hashes_are_stored(scene: Scene) -> None:
    token = await scene.client.rotated(scene.first)
    async with scene.pool.acquire() as connection:
        rows = await connection.fetch("SELECT to_jsonb(refresh_token) AS row FROM refresh_token")
    assert len(rows) == 2
    stored = " ".join(row["row"] for row in rows)
    for part in (*token.split("."), *scene.first.split(".")[1:]):
        assert part not in stored
        assert part.encode().hex() not in stored


async def test_a_disabled_gateway_is_refused_until_it_is_enabled(scene: Scene) -> None:
    async with scene.pool.acquire() as connection:
        await owners.set_gateway_active(connection, OPERATOR, scene.gateway, active=False)
        assert (await scene.client.refresh(scene.first))[0] == 401
        await owners.set_gateway_active(connection, OPERATOR, scene.gateway, active=True)
        assert (await scene.client.refresh(scene.first))[0] == 200
        await owners.set_provider_active(connection, OPERATOR, scene.provider, active=False)
        assert (await scene.client.refresh(scene.first))[0] == 401
        await owners.set_provider_active(connection, OPERATOR, scene.provider, active=True)
        assert (await scene.client.refresh(scene.first))[0] == 200


async def test_a_revocation_voids_what_was_issued_and_nothing_that_comes_after(scene: Scene) -> None:
    token = await scene.client.rotated(scene.first)
    async with scene.pool.acquire() as connection:
        await owners.revoke_gateway(connection, OPERATOR, scene.gateway, RevocationInstant(scene.clock))
    for each in (scene.first, token):
        status, body = await scene.client.refresh(each)
        assert (status, body["code"]) == (401, "token_invalid")
    scene.clock.advance(1)
    assert (await scene.client.refresh(await scene.another_token()))[0] == 200


async def test_a_restored_backup_refuses_forgotten_tokens_and_alarms(scene: Scene) -> None:
    forgotten = await scene.client.rotated(scene.first)
    await forget(scene, forgotten)
    status, body = await scene.client.refresh(forgotten)
    assert (status, body["code"]) == (401, "token_invalid")
    while not await scene.events("token.unknown_but_well_signed"):  # noqa: ASYNC110  written behind the answer
        await asyncio.sleep(0.02)
    assert await scene.events("token.reused") == []
    assert (await scene.client.refresh(scene.first))[0] == 200


async def test_the_restore_switch_lets_in_what_was_issued_since_the_backup(scene: Scene) -> None:
    """Of the lost time the gateway holds the newest token; after it is in, the older ones are what they were before."""
    backup_at = scene.clock.now
    scene.clock.advance(5_400)
    older = await scene.client.rotated(scene.first)
    scene.clock.advance(5_400)
    newest = await scene.client.rotated(older)
    await forget(scene, older, newest)
    scene.clock.advance(60)
    await open_window(scene, backup_at, scene.clock.now)
    token = await scene.client.rotated(newest)
    assert (await scene.client.refresh(older))[0] == 401
    assert (await scene.client.refresh(scene.first))[0] == 401
    assert (await scene.client.refresh(token))[0] == 200
    assert [event["subject"] for event in await scene.events("token.restored")] == [f"gateway:{scene.gateway}"]


async def test_the_restore_switch_lets_nothing_else_in(scene: Scene) -> None:
    before = await scene.client.rotated(scene.first)
    scene.clock.advance(10)
    window = scene.clock.now
    scene.clock.advance(61)
    after = await scene.client.rotated(scene.first)
    await forget(scene, before, after)
    await open_window(scene, window, window)
    for token in (before, after):
        assert (await scene.client.refresh(token))[0] == 401


async def test_expired_tokens_and_their_families_are_forgotten_and_refused_all_the_same(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]], scene: Scene
) -> None:
    """An hour after their end, by any replica's schedule. One that ended just now is no alarm."""
    token = await scene.client.rotated(scene.first)
    alive = await scene.another_token()
    async with start_auth(scene.clock, schedule_seconds=0.02):
        scene.clock.advance(60 * DAY)
        another = await scene.another_token()
        assert (await scene.client.refresh(token))[1]["code"] == "token_expired"
        scene.clock.advance(3_601)
        async with asyncio.timeout(30):
            while await scene.pool.fetchval("SELECT count(*) FROM refresh_token") > 1:  # noqa: ASYNC110  polled
                await asyncio.sleep(0.05)
            while await scene.pool.fetchval("SELECT count(*) FROM token_family") > 1:  # noqa: ASYNC110  polled
                await asyncio.sleep(0.05)
    for forgotten in (scene.first, token, alive):
        assert (await scene.client.refresh(forgotten))[0] == 401
    assert (await scene.client.refresh(another))[0] == 200
    assert await scene.events("token.unknown_but_well_signed") == []


async def forget(scene: Scene, *tokens: str) -> None:
    """What a backup of an earlier time does not know."""
    hashes = [sha256(token.encode()).digest() for token in tokens]
    async with scene.pool.acquire() as connection, connection.transaction():
        await connection.execute("DELETE FROM refresh_token WHERE hash = ANY ($1::bytea[])", hashes)
        await connection.execute("UPDATE refresh_token SET presented_at = NULL, superseded_at = NULL")


async def open_window(scene: Scene, backup_at: datetime, restored_at: datetime) -> None:
    async with scene.pool.acquire() as connection:
        await connection.execute("UPDATE restore_window SET backup_at = $1, restored_at = $2", backup_at, restored_at)
