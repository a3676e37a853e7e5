"""The prober as a gateway: one request per measure through the reference client, without its outbox.

A probe that were kept and sent again would hide the failures that it is there to see.
"""

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Self

import structlog

from metering_gateway.api import InputApi
from metering_gateway.clock import GatewayClock, SystemTime
from metering_gateway.domain.answers import NO_ANSWER, Answer
from metering_gateway.token_file import NoTokenError, TokenFile, TokenPair
from metering_gateway.tokens import CredentialsRefusedError, RefreshFailedError, Tokens
from metering_prober.application import Sent

TOKEN_FILE, TOKEN_LOCK, LAST_ISSUED = "token.json", "token.lock", "issued.sha256"

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class GatewayClient:
    """`application.PublicApi`. `issued` is looked at whenever there is no token, or none that is taken."""

    def __init__(self, api: InputApi, state: Path, issued: Path, device: str, sensor: str) -> None:
        self._api, self._state, self._issued = api, state, issued
        self._device, self._sensor = device, sensor
        self._file = TokenFile(state / TOKEN_FILE)
        self._tokens = Tokens(self._file, state / TOKEN_LOCK, api, GatewayClock(SystemTime()))
        self.device_id: int | None = None
        """The platform's own id of the device, known after the first measure."""

    @classmethod
    @asynccontextmanager
    async def open(cls, api: InputApi, folders: tuple[Path, Path], device: str, sensor: str) -> AsyncIterator[Self]:
        """`folders` are the state folder and the file of the issued token; `api` is closed at the end."""
        state, issued = folders
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with api:
            yield cls(api, state, issued, device, sensor)

    async def send(self, instant: int, value: float) -> Sent:
        try:
            access = await self._access()
            if self.device_id is None:
                self.device_id = _device_id(await self._api.device(access, self._device))
            answer = await self._api.send(access, self._body(instant, value), 0)
            if answer.status == HTTPStatus.UNAUTHORIZED:
                access = await self._tokens.renew(access)
                answer = await self._api.send(access, self._body(instant, value), 0)
        except (NoTokenError, CredentialsRefusedError) as error:
            return Sent("no_token", str(error))
        except RefreshFailedError as error:
            return _not_accepted(error.answer)
        return Sent("accepted") if answer.status == HTTPStatus.CREATED else _not_accepted(answer)

    async def _access(self) -> str:
        try:
            return await self._tokens.access()
        except (NoTokenError, CredentialsRefusedError):
            if not self._take_issued():
                raise
            return await self._tokens.access()

    def _take_issued(self) -> bool:
        """Each issued token is taken once: presented again after its exchange it would be a reuse."""
        try:
            text = self._issued.read_text().strip()
        except OSError:
            return False
        mark, known = hashlib.sha256(text.encode()).hexdigest(), self._state / LAST_ISSUED
        if not text or (known.exists() and known.read_text() == mark):
            return False
        self._file.write(TokenPair(_refresh_token(text)))
        known.write_text(mark)
        log.info("token.taken", file=str(self._issued))
        return True

    def _body(self, instant: int, value: float) -> bytes:
        values = [{"sensorName": self._sensor, "sensorValue": value}]
        measures = [{"timestamp": instant, "sensorValues": values}]
        return json.dumps([{"deviceNumber": self._device, "measures": measures}]).encode()


def _refresh_token(text: str) -> str:
    """As `metering-admin gateway issue-token --json` prints it, or bare."""
    return str(json.loads(text)["refreshToken"]) if text.startswith("{") else text


def _device_id(answer: Answer) -> int | None:
    number = answer.document().get("id")
    return number if isinstance(number, int) else None


def _not_accepted(answer: Answer) -> Sent:
    return Sent("unanswered" if answer.status == NO_ANSWER else "refused", answer.summary())
