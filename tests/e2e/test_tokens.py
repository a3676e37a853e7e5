"""A gateway's tokens on the running platform: the published four steps, and a revocation seen at every replica."""

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
