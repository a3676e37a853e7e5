"""What auth's tests share: a service spoken to as gateways and clients do, a held clock, and parts without HTTP."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import cycle
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from metering_auth.adapters.http import oauth, refresh_endpoint
from metering_auth.adapters.postgres import owners
from metering_auth.adapters.postgres.issue import TokenIssuer
from metering_auth.adapters.postgres.key_lifecycle import KeyLifecycle
from metering_auth.adapters.postgres.revocation import RevocationInstant
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.adapters.postgres.token_store import TokenStore
from metering_auth.application.refresh import Refresher
from metering_auth.application.refusals import RefreshRefusedError
from metering_auth.application.restore import ForgottenTokens
from metering_auth.domain.actor import Actor
from metering_auth.domain.limits import AttemptLimits, per_minute
from metering_auth.metrics import IdentityMetrics
from metering_auth.settings import StoreSettings
from metering_common.postgres.pool import TimedPool

OPERATOR = Actor("operator", "test")
Headers = Mapping[str, str]


class AuthClient:
    """A gateway's and a third party's view of one auth process."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self.base_url = base_url

    async def refresh(self, token: object, headers: Headers | None = None) -> tuple[int, dict[str, Any]]:
        """Status and body of the published endpoint."""
        status, body, _ = await self.post_json(refresh_endpoint.PATH, {"refreshToken": token}, headers)
        return status, body

    async def rotated(self, token: str) -> str:
        """The refresh token that takes this one's place; raises AssertionError for anything but 200."""
        status, body = await self.refresh(token)
        if status != 200:
            raise AssertionError(f"refresh answered {status}: {body}")
        return str(body["refreshToken"])

    async def post_json(
        self, path: str, body: object, headers: Headers | None = None
    ) -> tuple[int, dict[str, Any], Headers]:
        async with self._session.post(self.base_url + path, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    async def post_form(self, path: str, fields: Any) -> tuple[int, dict[str, Any] | None, Headers]:
        """As an OAuth client posts; None for an empty body."""
        async with self._session.post(self.base_url + path, data=fields) as answer:
            body = await answer.read()
            return answer.status, await answer.json(content_type=None) if body else None, answer.headers

    async def grant(self, token: str) -> tuple[int, dict[str, Any] | None, Headers]:
        """The refresh_token grant."""
        return await self.post_form(oauth.TOKEN_PATH, {"grant_type": "refresh_token", "refresh_token": token})


class ControlledClock:
    """Instants that move only when told to: the database's clock is not asked."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class World:
    """The parts of auth that a refresh goes through, twice as in two replicas, over a real database, without HTTP."""

    runner: asyncio.Runner
    pool: TimedPool
    clock: ControlledClock
    replicas: Iterator[Refresher]
    """The one whose turn it is."""
    lifecycle: KeyLifecycle
    issuer: TokenIssuer

    def refresh(self, token: str) -> str | None:
        """The next token, or None for a 401."""
        try:
            return self.runner.run(next(self.replicas).refresh(token, "192.0.2.1")).refresh
        except RefreshRefusedError:
            return None

    def withdraw_key(self) -> str:
        """The one that signs: it does no more, another does at once, and no replica is told."""

        async def withdraw() -> str:
            async with self.pool.acquire() as connection:
                kid = str(await connection.fetchval("SELECT kid FROM signing_key WHERE state = 'active'"))
                await self.lifecycle.withdraw(connection, OPERATOR, kid)
                return kid

        return self.runner.run(withdraw())

    def new_gateway(self) -> tuple[int, str]:
        async def make() -> tuple[int, str]:
            async with self.pool.acquire() as connection:
                provider = await owners.add_provider(connection, OPERATOR, "Uno")
                gateway = await owners.add_gateway(connection, OPERATOR, provider.id, "Edificio")
                return gateway.id, (await self.issuer.issue(connection, OPERATOR, gateway.id)).refresh

        return self.runner.run(make())

    def set_active(self, gateway: int, *, active: bool) -> None:
        async def change() -> None:
            async with self.pool.acquire() as connection:
                await owners.set_gateway_active(connection, OPERATOR, gateway, active=active)

        self.runner.run(change())

    def revoke(self, gateway: int) -> None:
        async def change() -> None:
            async with self.pool.acquire() as connection:
                await owners.revoke_gateway(connection, OPERATOR, gateway, RevocationInstant(self.clock))

        self.runner.run(change())

    def accepted_twice(self) -> int:
        """Generations of which two tokens were accepted: there must be none."""
        query = """SELECT count(*) FROM (SELECT FROM refresh_token WHERE presented_at IS NOT NULL
                   GROUP BY family_id, generation HAVING count(*) > 1) AS twice"""
        return int(self.runner.run(self.pool.fetchval(query)))


async def refreshing_parts(
    runner: asyncio.Runner, pool: TimedPool, clock: ControlledClock, given: StoreSettings
) -> World:
    """Two replicas that share nothing but the database, and one first key."""
    lifecycle = KeyLifecycle(given.keyring(), given.key_times(), clock)
    async with pool.acquire() as connection:
        await lifecycle.ensure_first(connection)
    replicas = cycle([_replica(pool, clock, given) for _ in range(2)])
    issuer = TokenIssuer(SigningKeys(given.keyring()), given.lifetimes(), clock)
    return World(runner, pool, clock, replicas, lifecycle, issuer)


def _replica(pool: TimedPool, clock: ControlledClock, given: StoreSettings) -> Refresher:
    keys = SigningKeys(given.keyring())
    store = TokenStore(pool, keys, given.lifetimes(), clock)
    metrics = IdentityMetrics(CollectorRegistry())
    return Refresher(
        store=store,
        keys=keys,
        lifetimes=given.lifetimes(),
        forgotten=ForgottenTokens(store, keys, metrics),
        limits=AttemptLimits(per_minute(10**6), per_minute(10**6)),
        metrics=metrics,
        monotonic=lambda: 0.0,
    )
