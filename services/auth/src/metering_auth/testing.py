"""What auth's tests share: a running service spoken to over HTTP, as a gateway and an OAuth client do."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import aiohttp

from metering_auth.identity.adapters import facade, oauth

Headers = Mapping[str, str]


class AuthClient:
    """A gateway's and a third party's view of one auth process."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self.base_url = base_url

    async def refresh(self, token: object, headers: Headers | None = None) -> tuple[int, dict[str, Any]]:
        """Status and body of the published endpoint."""
        status, body, _ = await self.post_json(facade.PATH, {"refreshToken": token}, headers)
        return status, body

    async def rotated(self, token: str) -> str:
        """The refresh token that takes this one's place; raises AssertionError for anything but 200."""
        status, body = await self.refresh(token)
        if status != 200:  # noqa: PLR2004  HTTP
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
