"""The portal's web API as two calls; unverified against the live service. What it returns becomes samples upstream."""

import email.utils
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import aiohttp
import structlog
from yarl import URL

from metering_common.service.clock import Clock
from metering_ecl_poller.adapters.portal.address import build_url
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.portal.answer import PageRequest, PortalAnswer
from metering_ecl_poller.domain.portal.dialect import Dialect
from metering_ecl_poller.domain.portal.errors import (
    AccessDeniedError,
    AnswerUnreadableError,
    Call,
    PortalBusyError,
    PortalMovedError,
    PortalRefusedError,
    PortalUnreachableError,
)
from metering_ecl_poller.domain.portal.models import MasterData, ReadingsPage
from metering_ecl_poller.domain.portal.reading import (
    AnswerShapeError,
    BodyStatus,
    parse_json,
    read_client_request_id,
    read_master_data,
    read_readings,
    read_server_request_id,
    read_status,
    status_of,
)
from metering_ecl_poller.domain.portal.redaction import without_secrets
from metering_ecl_poller.domain.portal.times import to_portal_time

MAX_ANSWER_BYTES = 3_500_000  # with room for its headers below the 4 MiB that ecl.answers.v1 takes
MOVED = "this version or address of the portal's API may have ended: set paths and hosts in ECL_DIALECT_FILE"
MAX_SHOWN = 200  # characters of an answer in an error
log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


OnAnswer = Callable[[PortalAnswer], Awaitable[None]]
"""Awaited with every whole answer before it is read: what it raises ends the call."""


class PortalClient:
    """One request at a time per call; the session, the clock and what becomes of answers come in from outside."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        dialect: Dialect,
        clock: Clock,
        on_answer: OnAnswer,
        *,
        timeout_seconds: float = 30,
        new_request_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        self._session, self._dialect, self._clock, self._on_answer = session, dialect, clock, on_answer
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self.new_request_id = new_request_id

    async def master_data(self, account: PortalAccount) -> MasterData:
        """Raises `PortalError` or what `on_answer` raises."""
        answer = await self._ask(account, "masterData", self._dialect.paths.master_data, [])
        document = self._document(account, answer)
        try:
            return read_master_data(document, self._dialect)
        except AnswerShapeError as error:
            raise AnswerUnreadableError(account.serial, answer.call, str(error)) from None

    async def readings_page(self, account: PortalAccount, wanted: PageRequest) -> ReadingsPage:
        """Raises `PortalError` or what `on_answer` raises."""
        arguments = self._arguments(wanted)
        answer = await self._ask(account, "readings", self._dialect.paths.readings, arguments, wanted)
        document = self._document(account, answer)
        try:
            return read_readings(document, self._dialect, wanted.device, answer.received_at_ms)
        except AnswerShapeError as error:
            raise AnswerUnreadableError(account.serial, answer.call, str(error)) from None

    def _arguments(self, wanted: PageRequest) -> list[tuple[str, str]]:
        names = self._dialect.request
        arguments = [
            (names.device, wanted.device),
            (names.from_, to_portal_time(wanted.from_ms)),
            (names.direction, names.backward if wanted.backward else names.forward),
            (names.page_size, str(wanted.size or names.wanted_page_size)),
        ]
        if names.paging != "from":
            arguments.append((names.page_number, str(wanted.number)))
        if names.to and wanted.until_ms is not None:
            arguments.append((names.to, to_portal_time(wanted.until_ms)))
        in_path = f"{{{names.channels}}}" in self._dialect.paths.readings
        if names.channels_as == "repeat" and not in_path:
            return arguments + [(names.channels, channel) for channel in wanted.channels]
        if wanted.channels and (in_path or names.channels_as == "list"):
            arguments.append((names.channels, ",".join(wanted.channels)))
        return arguments

    async def _ask(
        self,
        account: PortalAccount,
        call: Call,
        template: str,
        arguments: list[tuple[str, str]],
        wanted: PageRequest | None = None,
    ) -> PortalAnswer:
        request_id = self.new_request_id()
        traced: list[tuple[str, str]] = [*arguments, (self._dialect.request.client_request_id, request_id)]
        url = build_url(template, account, traced, self._dialect)
        started = self._clock.monotonic()
        status, headers, body = await self._get(account, call, url)
        body = without_secrets(body, account, self._dialect)
        answer = PortalAnswer(
            serial=account.serial,
            call=call,
            device=wanted and wanted.device,
            read_id=wanted and wanted.read_id,
            http_status=status,
            body=body,
            received_at_ms=self._clock.now_ms(),
            client_request_id=request_id,
            server_request_id=self._server_request_id(body),
        )
        self._log(answer, self._clock.monotonic() - started)
        await self._on_answer(answer)
        self._check_http(account, answer, headers)
        return answer

    async def _get(self, account: PortalAccount, call: Call, url: URL) -> tuple[int, Any, bytes]:
        """No error of aiohttp leaves here: their texts may hold the URL, and the URL holds the codes."""
        try:
            async with self._session.get(url, timeout=self._timeout, allow_redirects=False) as response:
                body = await _read_capped(response)
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PortalUnreachableError(account.serial, call, f"no answer ({type(error).__name__})") from None
        except ValueError as error:
            raise PortalUnreachableError(account.serial, call, f"no request ({type(error).__name__})") from None
        if len(body) > MAX_ANSWER_BYTES:
            raise AnswerUnreadableError(account.serial, call, f"the answer is over {MAX_ANSWER_BYTES} bytes")
        return status, headers, body

    def _log(self, answer: PortalAnswer, seconds: float) -> None:
        log.info(
            "portal.answered",
            controller=answer.serial,
            call=answer.call,
            device=answer.device,
            http_status=answer.http_status,
            bytes=len(answer.body),
            milliseconds=round(seconds * 1_000),
            client_request_id=answer.client_request_id,
            server_request_id=answer.server_request_id,
        )

    def _server_request_id(self, body: bytes) -> str | None:
        try:
            return read_server_request_id(parse_json(body), self._dialect)
        except AnswerShapeError:
            return None

    def _check_http(self, account: PortalAccount, answer: PortalAnswer, headers: Any) -> None:
        """HTTP's own status is authoritative where it is not 200."""
        status, what = answer.http_status, f"HTTP {answer.http_status} {_shown(answer.body)}"
        match status:
            case 200:
                return
            case 401 | 403 if _is_json(answer.body):
                raise AccessDeniedError(account.serial, answer.call, what)
            case 401 | 403:  # a page for people: a firewall in between, not the portal
                raise PortalUnreachableError(account.serial, answer.call, what, answered=True)
            case 301 | 302 | 307 | 308 | 410:
                raise PortalMovedError(account.serial, answer.call, f"{what}; {MOVED}")
            case 429:
                retry = self._retry_after(headers.get("Retry-After"))
                raise PortalBusyError(account.serial, answer.call, what, retry)
            case _ if status >= 500:  # noqa: PLR2004  HTTP's own classes
                raise PortalUnreachableError(account.serial, answer.call, what, answered=True)
        self._check_body_status(account, answer, status_of(answer.body, self._dialect))
        raise PortalRefusedError(account.serial, answer.call, what)

    def _retry_after(self, text: str | None) -> float | None:
        """Seconds, or an HTTP date."""
        if text is None:
            return None
        if text.strip().isdecimal():
            return float(text)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - self._clock.now_ms() / 1_000)
        except ValueError:
            return None

    def _document(self, account: PortalAccount, answer: PortalAnswer) -> Any:
        try:
            document = parse_json(answer.body)
        except AnswerShapeError as error:
            what = f"{error} {_shown(answer.body)}"
            raise AnswerUnreadableError(account.serial, answer.call, what) from None
        self._check_body_status(account, answer, read_status(document, self._dialect))
        echoed = read_client_request_id(document, self._dialect)
        if echoed not in (None, answer.client_request_id):
            what = f"the answer is to request {echoed[:60]}, not to {answer.client_request_id}"
            raise AnswerUnreadableError(account.serial, answer.call, what)
        return document

    def _check_body_status(self, account: PortalAccount, answer: PortalAnswer, status: BodyStatus) -> None:
        names = self._dialect.status
        if status.code is None or status.code in names.success:
            return
        what = f"status {status.code} {status.message or ''}".strip()[:MAX_SHOWN]
        if status.code in names.denied:
            raise AccessDeniedError(account.serial, answer.call, what)
        if status.code in names.busy:
            raise PortalUnreachableError(account.serial, answer.call, what, answered=True)
        if status.code in names.ended:
            raise PortalMovedError(account.serial, answer.call, f"{what}; {MOVED}")
        raise PortalRefusedError(account.serial, answer.call, what)


def _is_json(body: bytes) -> bool:
    try:
        parse_json(body)
    except AnswerShapeError:
        return False
    return True


async def _read_capped(response: aiohttp.ClientResponse) -> bytes:
    """The body, or a little more than the cap of it: inflating is bounded too."""
    parts = bytearray()
    async for part in response.content.iter_chunked(64 * 1024):
        parts += part
        if len(parts) > MAX_ANSWER_BYTES:
            break
    return bytes(parts)


def _shown(body: bytes) -> str:
    """The beginning of an answer from which the codes are redacted already."""
    return repr(body[:MAX_SHOWN].decode("utf-8", "replace"))
