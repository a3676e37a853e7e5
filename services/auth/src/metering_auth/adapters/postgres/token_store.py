"""Families of refresh tokens in PostgreSQL: what decides is read, and read again under the family's row lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

import asyncpg

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.rows import Connection, one_row
from metering_auth.adapters.postgres.signing_keys import QUERIES, SigningKeys
from metering_auth.application.instants import Instants, database_clock
from metering_auth.application.refusals import RefreshRefusedError
from metering_auth.domain.actor import Actor
from metering_auth.domain.restoring import (
    GatewayOwner,
    LiveFamily,
    RestoreWindow,
    expires_at,
    is_superseded,
    issued_at,
    owner_refusal,
)
from metering_auth.domain.rotation import KnownToken, Owner
from metering_auth.domain.token_pairs import IssuedClaims, Lifetimes, PresentedToken, TokenPair
from metering_auth.domain.tokens import Claims, SigningMaterial, fingerprint, kid_of
from metering_common.postgres.pool import UNAVAILABLE, TimedPool


class TokenStore:
    """Where families are found, by the hash of a presented token."""

    def __init__(
        self, pool: TimedPool, keys: SigningKeys, lifetimes: Lifetimes, instants: Instants = database_clock
    ) -> None:
        self._pool = pool
        self._keys = keys
        self._lifetimes = lifetimes
        self._instants = instants

    @asynccontextmanager
    async def session(self) -> AsyncIterator["TokenSession"]:
        """For a few statements, each for itself."""
        async with self._pool.acquire() as connection:
            yield TokenSession(connection, self._keys, self._lifetimes, self._instants)

    async def record_unknown(self, claims: Claims, address: str) -> None:
        """The audit event of a well-signed token that is unknown; the log line and the metric have reported it."""
        facts = {"issuedAt": claims.issued_at, "jti": str(claims.token_id)}
        gateway = f"gateway:{claims.gateway_id}"
        with suppress(*UNAVAILABLE):
            async with self._pool.acquire() as connection:
                actor = Actor(gateway, address)
                await audit.record(connection, actor, "token.unknown_but_well_signed", gateway, after=facts)


class TokenSession:
    """One connection's view of the families."""

    def __init__(self, connection: Connection, keys: SigningKeys, lifetimes: Lifetimes, instants: Instants) -> None:
        self._connection = connection
        self._keys = keys
        self._lifetimes = lifetimes
        self._instants = instants

    async def now(self) -> datetime:
        """The clock that decides."""
        now: datetime = await self._connection.fetchval(QUERIES.now, self._instants())
        return now

    async def active_key(self, kid: str | None) -> SigningMaterial:
        """The key of which the database says that it is active; raises `NoSigningKeyError` or `SealedError`."""
        return await self._keys.active(self._connection, kid)

    async def usable_key(self, kid: str) -> SigningMaterial | None:
        """The key if its private part is still kept."""
        return await self._keys.usable(self._connection, kid)

    async def presented(self, token: str) -> PresentedToken | None:
        """None if no such token is known."""
        row = await self._connection.fetchrow(QUERIES.standing, fingerprint(token), self._instants())
        return None if row is None else _presented(row)

    async def accept(self, presented: PresentedToken, claims: IssuedClaims, pair: TokenPair, kid: str) -> bool:
        """The presented token is the accepted one of its generation; the pair's is one more of the next.

        Done under the family's lock, and only if what decides is still as it was seen: else False, and nothing changes.
        What is issued so is older than any later revocation of the provider.
        """
        seen = (presented.hash, presented.seen, presented.now)
        successor = (fingerprint(pair.refresh), *claims.columns(kid))
        return bool(await self._connection.fetchval(QUERIES.accept_refresh, *seen, *successor))

    async def revoke_reused(self, presented: PresentedToken, address: str) -> bool:
        """Committed, with its audit event, when it returns; False if the family was revoked already."""
        gateway = f"gateway:{presented.gateway_id}"
        facts = {"family": str(presented.family_id), "generation": presented.generation}
        async with self._connection.transaction():
            revoked = await self._revoke(presented.family_id, presented.now, "reuse")
            if revoked:
                actor = Actor(gateway, address)
                await audit.record(self._connection, actor, "token.reused", gateway, after=facts)
        return revoked

    async def revoke_given_up(self, token: str, address: str) -> bool:
        """False if no such token is known; else its family is revoked, with an audit event if it was not before."""
        async with self._connection.transaction():
            family = await self._connection.fetchrow(QUERIES.lock_family, fingerprint(token))
            if family is not None and await self._revoke(family["family_id"], await self.now(), "client"):
                gateway = f"gateway:{family['gateway_id']}"
                facts = {"family": str(family["family_id"])}
                actor = Actor(gateway, address)
                await audit.record(self._connection, actor, "token.revoked_by_client", gateway, after=facts)
        return family is not None

    async def restore_window(self) -> RestoreWindow | None:
        """None while the switch is off."""
        row = await one_row(self._connection, QUERIES.restore_window)
        return None if row["backup_at"] is None else RestoreWindow(row["backup_at"], row["restored_at"])

    async def adopt(self, token: str, claims: Claims, now: datetime, address: str) -> TokenPair | None:
        """Into its gateway's one live family, in place of what the backup knew; into a new one if that is not clear.

        None if the token has become known meanwhile; raises `RefreshRefusedError`.
        """
        connection = self._connection
        async with connection.transaction():
            await connection.execute(QUERIES.hold_off_refreshes, claims.provider_id)
            if await connection.fetchrow(QUERIES.lock_family, fingerprint(token)) is not None:
                return None
            owner = await _owner(connection, claims)
            family_id, generation = await _place(connection, claims, now)
            adopted = (claims.token_id, kid_of(token), issued_at(claims), expires_at(claims))
            await connection.execute(QUERIES.adopt_token, fingerprint(token), family_id, generation, *adopted, now)
            material = await self.active_key(owner.active_kid)
            issued = IssuedClaims.fresh(now, self._lifetimes)
            pair = issued.signed(claims.provider_id, claims.gateway_id, material)
            await add_token(connection, family_id, (generation + 1, 0), issued, kid=material.kid, token=pair.refresh)
            gateway = f"gateway:{claims.gateway_id}"
            facts = {"family": str(family_id), "issuedAt": claims.issued_at}
            await audit.record(connection, Actor(gateway, address), "token.restored", gateway, after=facts)
            return pair

    async def _revoke(self, family_id: UUID, now: datetime, reason: Literal["reuse", "client"]) -> bool:
        """False if it was revoked already."""
        return bool(await self._connection.fetchval(QUERIES.revoke_family, family_id, now, reason))


async def add_token(
    connection: Connection, family_id: UUID, place: tuple[int, int], claims: IssuedClaims, *, kid: str, token: str
) -> None:
    """`place` is generation and sibling. Only the hash of `token` is kept."""
    await connection.execute(QUERIES.add_token, fingerprint(token), family_id, *place, *claims.columns(kid))


async def _owner(connection: Connection, claims: Claims) -> GatewayOwner:
    """Raises `RefreshRefusedError` for a gateway that may not refresh with this token."""
    row = await connection.fetchrow(QUERIES.gateway_standing, claims.gateway_id, None)
    fields = ("provider_id", "active", "revoked_at", "active_kid")
    owner = None if row is None else GatewayOwner(*(row[field] for field in fields))
    refused = owner_refusal(owner, claims)
    if owner is None or refused is not None:
        raise RefreshRefusedError(refused or "other_provider")
    return owner


async def _place(connection: Connection, claims: Claims, now: datetime) -> tuple[UUID, int]:
    """Family and generation of an adopted token; raises `RefreshRefusedError` if it is superseded."""
    live = await connection.fetch(QUERIES.live_families, claims.gateway_id)
    if len(live) != 1:
        family_id = uuid4()
        await connection.execute(QUERIES.add_family, family_id, claims.gateway_id, now)
        return family_id, 0
    family = LiveFamily(live[0]["id"], live[0]["accepted_issued_at"], live[0]["generation"])
    if is_superseded(family, claims):
        raise RefreshRefusedError("superseded")
    await connection.execute(QUERIES.supersede_all, family.id, now)
    return family.id, family.generation + 1


def _presented(row: asyncpg.Record) -> PresentedToken:
    return PresentedToken(
        now=row["now"],
        hash=row["hash"],
        seen=row["seen"],
        family_id=row["family_id"],
        provider_id=row["provider_id"],
        gateway_id=row["gateway_id"],
        generation=row["generation"],
        token=KnownToken(row["issued_at"], row["expires_at"], row["superseded_at"], row["successor_at"]),
        owner=Owner(row["family_revoked"], row["active"], row["revoked_at"]),
        active_kid=row["active_kid"],
        successor=None if row["successor_sibling"] is None else _successor(row),
        successor_kid=row["successor_kid"],
    )


def _successor(row: asyncpg.Record) -> IssuedClaims:
    return IssuedClaims(
        jti=row["jti"],
        access_jti=row["access_jti"],
        issued_at=row["successor_at"],
        expires_at=row["successor_expires_at"],
        access_expires_at=row["access_expires_at"],
    )
