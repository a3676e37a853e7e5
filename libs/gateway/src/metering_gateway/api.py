"""The platform's published calls as the gateway makes them; every outcome is an Answer, also none at all."""

import gzip
import ssl
import time
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

    `ca_file` names an authority to trust besides the system's (PEM). `proxy` is the URL of an HTTP proxy, with its
    user and password if it wants them. `client_certificate` (PEM, with the key unless `client_key` names it) is shown
    to a server that asks for one.

    Raises InvalidUrlError, and OSError (also ssl.SSLError) for a file that cannot be used.
    """

    def __init__(
        self,
        url: str,
        answer_seconds: float,
        ca_file: Path | None = None,
        *,
        proxy: str | None = None,
        client_certificate: Path | None = None,
        client_key: Path | None = None,
    ) -> None:
        self._url = _base(url)
        self._proxy = proxy
        self._answer_seconds = answer_seconds
        connect = min(CONNECT_SECONDS, 0.9 * answer_seconds)  # below the total: which of the two ended it is seen
        timeout = aiohttp.ClientTimeout(total=answer_seconds, connect=connect)
        connector = aiohttp.TCPConnector(ssl=_context(ca_file, client_certificate, client_key))
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
        began = time.monotonic()
        try:
            async with self._session.request(
                method, url, headers=headers, data=data, json=json, allow_redirects=False, proxy=self._proxy
            ) as response:
                body = await response.read()
                found = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, body.decode("utf-8", "replace"), found, time.monotonic() - began)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            seconds = time.monotonic() - began
            text = f"{type(error).__name__}: {error}".rstrip(": ")
            return Answer(NO_ANSWER, text, seconds=seconds, timed_out=self._timed_out(error, seconds))

    def _timed_out(self, error: Exception, seconds: float) -> bool:
        """Whether the line carried the request and was too slow for it; a server that is not reached is no such case.

        Many proxies cut a connection that takes long, without a word: a cut after half of the time counts too.
        """
        if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
            return False
        return isinstance(error, TimeoutError) or seconds >= self._answer_seconds / 2


def _base(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise InvalidUrlError(f"the platform's URL is https://host[:port] without a path, not {url!r}")
    return f"{parts.scheme}://{parts.netloc}"


def _context(ca_file: Path | None, client_certificate: Path | None, client_key: Path | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    if client_certificate is not None:
        context.load_cert_chain(client_certificate, client_key)
    return context


def _bearer(access: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access}"}
