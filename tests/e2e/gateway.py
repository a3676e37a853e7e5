"""A gateway in a few lines, for tests that must control every byte of a request."""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from tempfile import NamedTemporaryFile
from typing import Any

import aiohttp

from tests.e2e.platform import Platform

JSON_HEADERS = {"accept": "application/json", "content-type": "application/json"}


@dataclass(frozen=True)
class Site:
    """A registered provider with one gateway and one device, and an access token of that gateway."""

    provider: int
    gateway: int
    device: int
    number: str
    token: str


async def register(platform: Platform, name: str, number: str, sensors: list[str] | None = None) -> Site:
    """Register what one site needs through the operator's tool, and log its gateway in as a gateway does."""
    provider = platform.admin("provider", "add", name)["id"]
    gateway = platform.admin("gateway", "add", "--provider", str(provider), f"{name} gateway")["id"]
    device = platform.admin("device", "add", "--provider", str(provider), "--number", number)["id"]
    if sensors is not None:
        set_sensors(platform, device, sensors)
    refresh = platform.admin("gateway", "issue-token", str(gateway))["refreshToken"]
    token = await log_in(platform, refresh)
    return Site(provider, gateway, device, number, token)


def set_sensors(platform: Platform, device: int, sensors: list[str]) -> None:
    """Limit what is taken from a device's measurements."""
    with NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(sensors, file)
        file.flush()
        platform.admin("device", "set-sensors", str(device), "--sensors", file.name)


async def log_in(platform: Platform, refresh_token: str) -> str:
    url = f"{platform.api_url}/api/v1/auth/token/refresh"
    async with (
        aiohttp.ClientSession(headers=JSON_HEADERS) as session,
        session.post(url, json={"refreshToken": refresh_token}) as response,
    ):
        assert response.status == 200, await response.text()
        return str((await response.json())["accessToken"])


async def post(platform: Platform, token: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    """One POST of measurements: status and JSON answer."""
    authorised = JSON_HEADERS | {"authorization": f"Bearer {token}"} | headers
    url = f"{platform.api_url}/api/v1/measurements"
    async with (
        aiohttp.ClientSession(headers=authorised) as session,
        session.post(url, json=body) as response,
    ):
        return response.status, await response.json()


async def post_until_answered(platform: Platform, token: str, body: Any) -> tuple[int, dict[str, Any]]:
    """Sends it again, as a gateway does, while the answer is a 503: a new device may not be published yet."""
    for _ in range(60):
        status, answer = await post(platform, token, body)
        if status != HTTPStatus.SERVICE_UNAVAILABLE:
            break
        await asyncio.sleep(1)
    return status, answer


def element(number: str, measures: dict[Any, list[tuple[str, Any]]]) -> dict[str, Any]:
    """One device's element of a request: {timestamp: [(sensor name, value), …]}."""
    return {
        "deviceNumber": number,
        "measures": [
            {
                "timestamp": timestamp,
                "sensorValues": [{"sensorName": name, "sensorValue": value} for name, value in values],
            }
            for timestamp, values in measures.items()
        ],
    }
