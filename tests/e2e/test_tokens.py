"""A gateway's tokens on the running platform: the published four steps, and a revocation seen at every replica."""

import asyncio
import base64
import json
import time
from typing import Any

import aiohttp

from tests.e2e.gateway import JSON_HEADERS, element, post, register
from tests.e2e.platform import Platform, eventually

SEEN_BY_BOTH_REPLICAS = 8
"""Answers in a row: the balancer's round robin brings each replica at least three of them."""


async def ask(platform: Platform, token: str, path: str) -> tuple[int, dict[str, Any]]:
    headers = JSON_HEADERS | {"authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(f"{platform.api_url}/api/v1{path}") as response,
    ):
        return response.status, await response.json()


async def refresh(platform: Platform, token: str) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession(headers=JSON_HEADERS) as session,
        session.post(f"{platform.api_url}/api/v1/auth/token/refresh", json={"refreshToken": token}) as response,
    ):
        return response.status, await response.json()


async def test_the_published_four_steps(platform: Platform) -> None:
    site = await register(platform, "four steps", "29")
    status, pair = await refresh(platform, platform.admin("gateway", "reissue", str(site.gateway))["refreshToken"])
    assert (status, sorted(pair)) == (200, ["accessToken", "refreshToken"])
    status, device = await ask(platform, pair["accessToken"], "/devices/number/29")
    assert (status, device["id"], device["number"], len(device["sensors"])) == (200, site.device, "29", 30)
    assert device["sensors"][2] == {"name": "Energía activa acumulada", "alias": "EACTIVE", "unit": "kWh"}
    status, server = await ask(platform, pair["accessToken"], "/server-time")
    assert (status, sorted(server)) == (200, ["datetime", "timestamp"])
    assert abs(server["timestamp"] - time.time()) < 60
    measure = element("29", {server["timestamp"]: [(sensor["name"], 1) for sensor in device["sensors"]]})
    assert await post(platform, pair["accessToken"], [measure]) == (201, {"success": True, "warnings": []})


async def test_a_revocation_is_seen_at_every_replica(platform: Platform) -> None:
    site = await register(platform, "revoked", "29")
    assert (await ask(platform, site.token, "/server-time"))[0] == 200
    platform.admin("gateway", "revoke", str(site.gateway))
    told = time.monotonic()
    await eventually(lambda: statuses(platform, site.token), lambda seen: seen == {401}, seconds=10)
    assert time.monotonic() - told < 2
    status, pair = await refresh(platform, platform.admin("gateway", "issue-token", str(site.gateway))["refreshToken"])
    assert status == 200
    assert await statuses(platform, pair["accessToken"]) == {200}


async def statuses(platform: Platform, token: str) -> set[int]:
    return {(await ask(platform, token, "/server-time"))[0] for _ in range(SEEN_BY_BOTH_REPLICAS)}


async def test_two_key_rotations_under_load_cost_no_401_at_either_ingest_api(platform: Platform) -> None:
    """Gateways refresh and ask all the time while the signing key changes twice. At the end a token
    of each of the three keys is shown to both ingest-api replicas.
    """
    site = await register(platform, "rotated", "29")
    tokens = [first_token(platform, site.provider, name) for name in ("one", "two", "three")]
    first = await signing_key(platform)
    load = Load(platform)
    async with aiohttp.ClientSession(headers=JSON_HEADERS) as session, asyncio.TaskGroup() as gateways:
        for token in tokens:
            gateways.create_task(load.gateway(session, token))
        for _ in range(2):
            kid = (await asyncio.to_thread(platform.admin, "key", "rotate"))["kid"]
            await eventually(lambda: signing_key(platform), lambda now, wanted=kid: now == wanted)  # type: ignore[misc]  # a lambda's default has no type
            await load.until_used(kid)
        load.over.set()
    assert len(load.kids) == 3
    assert {first, kid} <= load.kids
    for token in {kid_of(token): token for token in load.access_tokens}.values():
        assert await statuses(platform, token) == {200}
    assert load.refused == []
    print(f"{len(load.access_tokens)} refreshes, {load.asked} requests at two ingest-api replicas, no 401")  # noqa: T201  the figure


class Load:
    """Steady gateways: each refreshes once a second and asks with what it has in between."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.over = asyncio.Event()
        self.access_tokens: list[str] = []
        self.asked = 0
        self.refused: list[tuple[str, int]] = []
        """What was asked, and every answer but 200 and 503 (send it again)."""

    @property
    def kids(self) -> set[str]:
        return {kid_of(token) for token in self.access_tokens}

    async def gateway(self, session: aiohttp.ClientSession, token: str) -> None:
        while not self.over.is_set():
            pair = await self._refreshed(session, token)
            if pair is not None:
                token = pair["refreshToken"]
                self.access_tokens.append(pair["accessToken"])
            for access in self.access_tokens[-1:] * 4:
                await self._ask(session, access)
                await asyncio.sleep(0.25)

    async def until_used(self, kid: str) -> None:
        async with asyncio.timeout(60):
            while kid not in self.kids:  # noqa: ASYNC110  what is awaited are the gateways' turns
                await asyncio.sleep(0.1)

    async def _refreshed(self, session: aiohttp.ClientSession, token: str) -> dict[str, str] | None:
        url = f"{self.platform.api_url}/api/v1/auth/token/refresh"
        async with session.post(url, json={"refreshToken": token}) as response:
            self._note("refresh", response.status)
            return await response.json() if response.status == 200 else None

    async def _ask(self, session: aiohttp.ClientSession, token: str) -> None:
        url = f"{self.platform.api_url}/api/v1/server-time"
        async with session.get(url, headers={"authorization": f"Bearer {token}"}) as response:
            self._note("server-time", response.status)
            self.asked += 1

    def _note(self, what: str, status: int) -> None:
        if status not in {200, 503}:
            self.refused.append((what, status))


def first_token(platform: Platform, provider: int, name: str) -> str:
    gateway = platform.admin("gateway", "add", "--provider", str(provider), name)["id"]
    return str(platform.admin("gateway", "issue-token", str(gateway))["refreshToken"])


async def signing_key(platform: Platform) -> str:
    keys = await asyncio.to_thread(platform.admin, "key", "list")
    return next(str(key["kid"]) for key in keys if key["state"] == "active")


def kid_of(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])
