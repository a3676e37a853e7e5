"""A revocation reaches every replica within 2 s, outlives restarts, and never touches what is issued after it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, NamedTuple

import jwt
import pytest
from auth_support import AuthClient
from prometheus_client import CollectorRegistry

from metering_auth.adapters.postgres import owners
from metering_auth.adapters.postgres.issue import TokenIssuer
from metering_auth.adapters.postgres.revocation import RevocationInstant
from metering_auth.adapters.postgres.rows import Connection
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.domain.actor import Actor
from metering_auth.settings import AuthSettings
from metering_common.postgres.pool import TimedPool
from metering_common.registry.documents import Gateway, Provider
from metering_common.registry.replica import RegistryReplica
from metering_common.service.clock import SystemClock
from metering_common.service.metrics import ReplicaMetrics
from metering_common.service.settings import KafkaSettings

OPERATOR = Actor("operator", "test")
REPLICAS = 3
ROUNDS = 3
PROMISED_SECONDS = 2


class Site(NamedTuple):
    provider: int
    gateway: int


Shown = dict[CollectorRegistry, ReplicaMetrics]


@pytest.fixture
def shown() -> Shown:
    """What each replica shows to Prometheus."""
    return {registry: ReplicaMetrics(registry) for registry in (CollectorRegistry() for _ in range(REPLICAS))}


@pytest.fixture
async def replicas(kafka: KafkaSettings, auth: AuthClient, shown: Shown) -> AsyncIterator[list[RegistryReplica]]:
    """As many as there may be ingest pods; `auth` publishes what makes them ready."""
    assert auth.base_url
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(RegistryReplica.open(kafka, SystemClock(), metrics=metrics))
            for metrics in shown.values()
        ]
        async with asyncio.timeout(30):
            await asyncio.gather(*(replica.wait_ready() for replica in opened))
        yield opened


async def until_all(replicas: list[RegistryReplica], holds: Callable[[RegistryReplica], bool]) -> None:
    async with asyncio.timeout(60):
        while not all(holds(replica) for replica in replicas):  # noqa: ASYNC110  polled, as the sentence asks
            await asyncio.sleep(0.01)


async def test_every_change_of_an_owner_is_at_every_replica_within_2_seconds(
    replicas: list[RegistryReplica], pool: TimedPool, shown: Shown
) -> None:
    """From the commit of the change to the last of three replicas, polled, and by each replica's own metric; each kind
    of change, several times. A machine that stands still for a moment gets another round; a slow way has no good one.
    """
    async with pool.acquire() as connection:
        provider = await owners.add_provider(connection, OPERATOR, "Uno")
        gateway = await owners.add_gateway(connection, OPERATOR, provider.id, "Edificio")
        await until_all(replicas, lambda replica: gateway.id in replica.registry.gateways)
        for _ in range(ROUNDS):
            delays = await one_round(connection, replicas, provider, gateway)
            print(f"revocation: {len(delays)} changes at {REPLICAS} replicas, at most {max(delays):.2f} s")  # noqa: T201  the figure
            if max(delays) < PROMISED_SECONDS:
                break
    assert max(delays) < PROMISED_SECONDS
    name = "metering_registry_replica_revocation_delay_seconds"
    for registry in shown:
        assert (registry.get_sample_value(f"{name}_bucket", {"le": "2.0"}) or 0) >= len(delays)


async def one_round(
    connection: Connection, replicas: list[RegistryReplica], provider: Provider, gateway: Gateway
) -> list[float]:
    """Seconds from the commit of each change to the last replica."""
    delays: list[float] = []
    instant = RevocationInstant()
    for active in (False, True, False, True):
        changes: list[Awaitable[Provider | Gateway]] = [
            owners.set_provider_active(connection, OPERATOR, provider.id, active=active),
            owners.set_gateway_active(connection, OPERATOR, gateway.id, active=active),
            owners.revoke_gateway(connection, OPERATOR, gateway.id, instant),
            owners.revoke_provider(connection, OPERATOR, provider.id, instant),
        ]
        for change in changes:  # each begins when the one before has arrived
            wanted = await change
            since = time.monotonic()
            await until_all(replicas, lambda replica, wanted=wanted: has(replica, wanted))  # type: ignore[misc]  # a lambda's default has no type
            delays.append(time.monotonic() - since)
        await asyncio.sleep(0.3)
    return delays


def has(replica: RegistryReplica, wanted: Provider | Gateway) -> bool:
    known = replica.registry.providers if isinstance(wanted, Provider) else replica.registry.gateways
    found = known.get(wanted.id)
    return found is not None and found.active == wanted.active and (found.revoked_at or 0) >= (wanted.revoked_at or 0)


async def test_the_token_issued_right_after_a_revocation_works(
    auth: AuthClient, admin: Callable[..., Any], site: Site
) -> None:
    old = admin("gateway", "issue-token", site.gateway)["refreshToken"]
    new = (await asyncio.to_thread(admin, "gateway", "reissue", site.gateway))["refreshToken"]
    assert (await auth.refresh(old))[0] == 401
    status, body = await auth.refresh(new)
    assert status == 200
    (gateway,) = admin("gateway", "list", "--provider", site.provider)
    assert claims(body["accessToken"])["iat"] > gateway["revokedAt"]
    assert claims(new)["iat"] > gateway["revokedAt"]


async def test_a_revocation_command_returns_when_it_is_published_and_its_second_is_over(
    auth: AuthClient, admin: Callable[..., Any], site: Site, pool: TimedPool
) -> None:
    assert auth.base_url
    done = await asyncio.to_thread(admin, "gateway", "revoke", site.gateway)
    assert done["published"] is True
    assert await pool.fetchval("SELECT floor(extract(epoch FROM clock_timestamp()))::bigint") > done["revokedAt"]


async def test_a_revocation_outlives_the_restart_of_auth(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]], admin: Callable[..., Any], site: Site
) -> None:
    async with start_auth():
        token = admin("gateway", "issue-token", site.gateway)["refreshToken"]
        await asyncio.to_thread(admin, "gateway", "revoke", site.gateway)
    async with start_auth() as client:
        assert (await client.refresh(token))[0] == 401


async def test_no_token_issued_beside_a_revocation_outlives_it(
    auth: AuthClient, pool: TimedPool, site: Site, auth_settings: Callable[..., AuthSettings]
) -> None:
    """Refreshes go on while the gateway is revoked, again and again: what they got is void, or was issued after it."""
    async with pool.acquire() as connection:
        keys = SigningKeys(auth_settings().keyring())
        await keys.load(connection)
        issuer = TokenIssuer(keys, auth_settings().lifetimes())
        for _ in range(3):
            token = (await issuer.issue(connection, OPERATOR, site.gateway)).refresh
            refreshing = asyncio.create_task(refresh_until_refused(auth, token))
            await asyncio.sleep(0.2)
            gateway = await owners.revoke_gateway(connection, OPERATOR, site.gateway, RevocationInstant())
            issued = await refreshing
            assert issued
            assert all(claims(token)["iat"] <= (gateway.revoked_at or 0) for token in issued)


async def refresh_until_refused(auth: AuthClient, token: str) -> list[str]:
    issued: list[str] = []
    while True:
        status, body = await auth.refresh(token)
        if status != 200:
            return issued
        issued.append(body["accessToken"])
        token = body["refreshToken"]


def claims(token: str) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return decoded
