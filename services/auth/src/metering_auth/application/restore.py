"""Well-signed refresh tokens that the database does not know: a backup was restored, or somebody has our key.

Each is a 401 and an alarm. While the restore switch is on, those issued between backup and restoring are let in.
"""

import asyncio
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

import structlog

from metering_auth.application.refusals import RefreshRefusedError
from metering_auth.domain import tokens
from metering_auth.domain.restoring import RestoreWindow
from metering_auth.domain.token_pairs import TokenPair
from metering_auth.domain.tokens import Claims, TokenRefusedError, TokenUse, VerificationKeys
from metering_auth.metrics import IdentityMetrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

ALARM_AFTER_SECONDS = 0.05
"""The answer is out by then: its time does not tell that an alarm is written."""


class Session(Protocol):
    """Reads what decides about unknown tokens, and takes one in."""

    async def now(self) -> datetime:
        """The clock that decides."""
        ...

    async def restore_window(self) -> RestoreWindow | None:
        """None while the switch is off."""
        ...

    async def adopt(self, token: str, claims: Claims, now: datetime, address: str) -> TokenPair | None:
        """The next pair; None if the token has become known meanwhile. Raises `RefreshRefusedError`."""
        ...


class Store(Protocol):
    """Where families are kept."""

    def session(self) -> AbstractAsyncContextManager[Session]: ...

    async def record_unknown(self, claims: Claims, address: str) -> None:
        """Writes the audit event, if the database takes it."""
        ...


class ForgottenTokens:
    """What becomes of a token whose hash is unknown."""

    def __init__(self, store: Store, keys: VerificationKeys, metrics: IdentityMetrics) -> None:
        self._store = store
        self._keys = keys
        self._metrics = metrics
        self._alarms: set[asyncio.Task[None]] = set()

    async def let_in(self, token: str, address: str) -> TokenPair | None:
        """A pair if the switch allows, None if the token has become known meanwhile, else `RefreshRefusedError`.

        An unknown token and a wrong one cost the same here, one question to the database and one verification; what
        only the unknown one causes, the alarm, is done after the answer.
        """
        async with self._store.session() as session:
            window = await session.restore_window()
            now = await session.now()
            claims = self._trusted(token, now)
            if window is None or not window.covers(claims):
                self._alarm(claims, address)
                raise RefreshRefusedError("unknown")
            return await session.adopt(token, claims, now, address)

    async def close(self) -> None:
        """Waits for alarms that are still being written."""
        await asyncio.gather(*self._alarms, return_exceptions=True)

    def _trusted(self, token: str, now: datetime) -> Claims:
        try:
            return tokens.read(token, TokenUse.REFRESH, self._keys.trusted, self._keys.decoy, int(now.timestamp()))
        except TokenRefusedError as error:
            raise RefreshRefusedError(error.reason) from error

    def _alarm(self, claims: Claims, address: str) -> None:
        self._metrics.unknown_well_signed.inc()
        task = asyncio.create_task(self._write_alarm(claims, address))
        self._alarms.add(task)
        task.add_done_callback(self._alarms.discard)

    async def _write_alarm(self, claims: Claims, address: str) -> None:
        await asyncio.sleep(ALARM_AFTER_SECONDS)
        log.error("token.unknown_but_well_signed", gateway_id=claims.gateway_id, address=address)
        await self._store.record_unknown(claims, address)
