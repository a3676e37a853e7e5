"""The platform's published calls as the gateway makes them; every outcome is an Answer, also none at all."""

import gzip
import ssl
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

import aiohttp

from metering_gateway.domain.answers import NO_ANSWER, Answer

BASE_PATH = "/api/v1"
CONNECT_SECONDS = 10.0


class InvalidUrlError(ValueError):
    """Not the platform's base URL; the message says what is expected."""


class InputApi:
    """`url` is the platform's base URL without a path. `answer_seconds` bounds one call, the connection included.
    `ca_file` names an authority to trust besides the system's (PEM).

    Raises InvalidUrlError.
    """

    def __init__(self, url: str, answer_seconds: float, ca_file: Path | None = None) -> None:
        self._url = _base(url)
        timeout = aiohttp.ClientTimeout(total=answer_seconds, connect=min(CONNECT_SECONDS, answer_seconds))
        connector = aiohttp.TCPConnector(ssl=_believing(ca_file))
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers={"Accept": "application/json"}
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def refresh(self, refresh_token: str) -> Answer:
        return await self._call("POST", "/auth/token/refresh", {}, json={"refreshToken": refresh_token})

    async def server_time(self, access: str) -> Answer:
        return await self._call("GET", "/server-time", _bearer(access))

    async def device(self, access: str, number: str) -> Answer:
        return await self._call("GET", f"/devices/number/{quote(number, safe='')}", _bearer(access))

    async def send(self, access: str, body: bytes, wait_seconds: int) -> Answer:
        """`wait_seconds` above 0 asks for the result inside the 201 (RFC 7240)."""
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        if wait_seconds:
            headers["Prefer"] = f"wait={wait_seconds}"
        packed = gzip.compress(body, compresslevel=6, mtime=0)
        return await self._call("POST", "/measurements", _bearer(access) | headers, data=packed)

    async def result(self, access: str, location: str) -> Answer:
        """What became of a batch; `location` is the path that the 201 named."""
        return await self._request("GET", urljoin(f"{self._url}/", location), _bearer(access))

    async def _call(
        self, method: str, path: str, headers: Mapping[str, str], *, data: bytes | None = None, json: object = None
    ) -> Answer:
        return await self._request(method, f"{self._url}{BASE_PATH}{path}", headers, data=data, json=json)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], *, data: bytes | None = None, json: object = None
    ) -> Answer:
        """Redirects are not followed: a POST would become a GET, and the token would go elsewhere."""
        try:
            async with self._session.request(
                method, url, headers=headers, data=data, json=json, allow_redirects=False
            ) as response:
                body = await response.read()
                found = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, body.decode("utf-8", "replace"), found)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(NO_ANSWER, f"{type(error).__name__}: {error}".rstrip(": "))


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InvalidUrlError(f"the platform's URL is https://host[:port] without a path, not {url!r}")
    return f"{parts.scheme}://{parts.netloc}"


def _believing(ca_file: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _bearer(access: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access}"}
