"""Well-signed refresh tokens that the database does not know: a backup was restored, or somebody has our key.

Each is a 401 and an alarm. While the restore switch is on, those issued between backup and restoring are let in.
"""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from uuid import UUID, uuid4

import asyncpg
import structlog

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.audit import Actor
from metering_auth.adapters.postgres.rows import one_row
from metering_auth.adapters.postgres.signing_keys import QUERIES, Connection, SigningKeys
from metering_auth.adapters.postgres.token_store import IssuedClaims, Lifetimes, TokenPair, TokenStore, add_token
from metering_auth.application.refusals import RefreshRefusedError
from metering_auth.domain import tokens
from metering_auth.domain.tokens import Claims, TokenRefusedError, TokenUse
from metering_auth.metrics import IdentityMetrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

ALARM_AFTER_SECONDS = 0.05
"""The answer is out by then: its time does not tell that an alarm is written."""


class ForgottenTokens:
    """What becomes of a token whose hash is unknown."""

    def __init__(self, store: TokenStore, keys: SigningKeys, lifetimes: Lifetimes, metrics: IdentityMetrics) -> None:
        self._store = store
        self._keys = keys
        self._lifetimes = lifetimes
        self._metrics = metrics
        self._alarms: set[asyncio.Task[None]] = set()

    async def let_in(self, token: str, address: str) -> TokenPair | None:
        """A pair if the switch allows, None if the token has become known meanwhile, else `RefreshRefusedError`.

        An unknown token and a wrong one cost the same here, one question to the database and one verification; what
        only the unknown one causes, the alarm, is done after the answer.
        """
        async with self._store.connection() as connection:
            window = await one_row(connection, QUERIES.restore_window)
            now = await self._store.now(connection)
            claims = self._trusted(token, now)
            if window["backup_at"] is None or not window["backup_at"] <= _issued(claims) <= window["restored_at"]:
                self._alarm(claims, address)
                raise RefreshRefusedError("unknown")
            return await self._adopt(connection, token, claims, now, address)

    async def close(self) -> None:
        """Waits for alarms that are still being written."""
        await asyncio.gather(*self._alarms, return_exceptions=True)

    def _trusted(self, token: str, now: datetime) -> Claims:
        try:
            keys = self._keys
            return tokens.read(token, TokenUse.REFRESH, keys.trusted, keys.decoy, int(now.timestamp()))
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
        facts = {"issuedAt": claims.issued_at, "jti": str(claims.token_id)}
        gateway = f"gateway:{claims.gateway_id}"
        with suppress(OSError, TimeoutError, asyncpg.PostgresError):  # the log line and the metric have told it
            async with self._store.connection() as connection:
                actor = Actor(gateway, address)
                await audit.record(connection, actor, "token.unknown_but_well_signed", gateway, after=facts)

    async def _adopt(
        self, connection: Connection, token: str, claims: Claims, now: datetime, address: str
    ) -> TokenPair | None:
        """Into its gateway's one live family, in place of what the backup knew; into a new one if that is not clear."""
        async with connection.transaction():
            await connection.execute(QUERIES.hold_off_refreshes, claims.provider_id)
            if await connection.fetchrow(QUERIES.lock_family, tokens.fingerprint(token)) is not None:
                return None
            kid = await self._checked_owner(connection, claims)
            family_id, generation = await self._place(connection, claims, now)
            adopted = (claims.token_id, tokens.kid_of(token), _issued(claims), _expires(claims))
            await connection.execute(
                QUERIES.adopt_token, tokens.fingerprint(token), family_id, generation, *adopted, now
            )
            material = await self._keys.active(connection, kid)
            issued = IssuedClaims.fresh(now, self._lifetimes)
            pair = issued.signed(claims.provider_id, claims.gateway_id, material)
            await add_token(connection, family_id, (generation + 1, 0), issued, kid=material.kid, token=pair.refresh)
            gateway = f"gateway:{claims.gateway_id}"
            facts = {"family": str(family_id), "issuedAt": claims.issued_at}
            await audit.record(connection, Actor(gateway, address), "token.restored", gateway, after=facts)
            return pair

    async def _checked_owner(self, connection: Connection, claims: Claims) -> str | None:
        """The active key's id; the gateway must still be its provider's, active, and not revoked since."""
        owner = await connection.fetchrow(QUERIES.gateway_standing, claims.gateway_id, None)
        if owner is None or owner["provider_id"] != claims.provider_id:
            raise RefreshRefusedError("other_provider")
        if not owner["active"]:
            raise RefreshRefusedError("disabled")
        if owner["revoked_at"] is not None and claims.issued_at <= owner["revoked_at"]:
            raise RefreshRefusedError("revoked")
        kid: str | None = owner["active_kid"]
        return kid

    async def _place(self, connection: Connection, claims: Claims, now: datetime) -> tuple[UUID, int]:
        """Family and generation. A token older than what was accepted since the restoring is superseded."""
        live = await connection.fetch(QUERIES.live_families, claims.gateway_id)
        if len(live) != 1:
            family_id = uuid4()
            await connection.execute(QUERIES.add_family, family_id, claims.gateway_id, now)
            return family_id, 0
        family = live[0]
        if int(family["accepted_issued_at"].timestamp()) > claims.issued_at:
            raise RefreshRefusedError("superseded")
        await connection.execute(QUERIES.supersede_all, family["id"], now)
        return family["id"], family["generation"] + 1


def _issued(claims: Claims) -> datetime:
    return datetime.fromtimestamp(claims.issued_at, UTC)


def _expires(claims: Claims) -> datetime:
    return datetime.fromtimestamp(claims.expires_at, UTC)
