"""Families of refresh tokens in PostgreSQL: what decides is read, and read again under the family's row lock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

import asyncpg

from metering_auth.adapters.postgres.signing_keys import QUERIES, Connection
from metering_auth.application.instants import Instants, database_clock
from metering_auth.domain.rotation import KnownToken, Owner
from metering_auth.domain.tokens import Claims, SigningMaterial, TokenUse, fingerprint, sign
from metering_common.postgres.pool import TimedPool


@dataclass(frozen=True)
class Lifetimes:
    """How long tokens are valid."""

    access: timedelta
    refresh: timedelta


@dataclass(frozen=True)
class TokenPair:
    """What a gateway gets; its `repr` shows neither token."""

    gateway_id: int
    access_seconds: int
    access: str
    refresh: str

    def __repr__(self) -> str:
        return f"TokenPair(gateway_id={self.gateway_id})"


@dataclass(frozen=True)
class IssuedClaims:
    """What one pair is signed from, now or again."""

    jti: UUID
    access_jti: UUID
    issued_at: datetime
    expires_at: datetime
    access_expires_at: datetime

    @classmethod
    def fresh(cls, now: datetime, lifetimes: Lifetimes) -> "IssuedClaims":
        whole = now.replace(microsecond=0)  # `iat` and `exp` are whole seconds
        return cls(uuid4(), uuid4(), now, whole + lifetimes.refresh, whole + lifetimes.access)

    def columns(self, kid: str) -> tuple[object, ...]:
        """As a token's row keeps them."""
        return self.jti, self.access_jti, kid, self.issued_at, self.expires_at, self.access_expires_at

    def signed(self, provider_id: int, gateway_id: int, material: SigningMaterial) -> TokenPair:
        issued = int(self.issued_at.timestamp())
        access_until, refresh_until = int(self.access_expires_at.timestamp()), int(self.expires_at.timestamp())
        access = Claims(self.access_jti, issued, access_until, provider_id, gateway_id, TokenUse.ACCESS)
        refresh = Claims(self.jti, issued, refresh_until, provider_id, gateway_id, TokenUse.REFRESH)
        return TokenPair(gateway_id, access_until - issued, sign(access, material), sign(refresh, material))


@dataclass(frozen=True)
class Standing:
    """What is known of a presented token, and of its latest successor."""

    now: datetime
    hash: bytes
    seen: int
    """A hash of all the rest: as long as it is the same, so is the rest."""
    family_id: UUID
    provider_id: int
    gateway_id: int
    generation: int
    token: KnownToken
    owner: Owner
    active_kid: str | None
    successor: IssuedClaims | None
    successor_kid: str | None
    """None if that key may not sign any more."""

    def sign(self, claims: IssuedClaims, material: SigningMaterial) -> TokenPair:
        return claims.signed(self.provider_id, self.gateway_id, material)


@dataclass(frozen=True)
class LockedFamily:
    """One family inside its transaction."""

    connection: Connection
    id: UUID
    gateway_id: int


class TokenStore:
    """Where families are found, by the hash of a presented token."""

    def __init__(self, pool: TimedPool, instants: Instants = database_clock) -> None:
        self._pool = pool
        self._instants = instants

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """For a few statements, each for itself."""
        async with self._pool.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def locked(self, token: str) -> AsyncIterator[LockedFamily | None]:
        """The family of a presented token; None if no such token is known. Commits when the block ends well."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(QUERIES.lock_family, fingerprint(token))
            yield None if row is None else LockedFamily(connection, row["family_id"], row["gateway_id"])

    async def standing(self, connection: Connection, token: str) -> Standing | None:
        """None if no such token is known."""
        row = await connection.fetchrow(QUERIES.standing, fingerprint(token), self._instants())
        return None if row is None else _standing(row)

    async def accept(
        self, connection: Connection, standing: Standing, claims: IssuedClaims, pair: TokenPair, kid: str
    ) -> bool:
        """The presented token is the accepted one of its generation; the pair's is one more of the next.

        Done under the family's lock, and only if what decides is still as it was seen: else False, and nothing changes.
        What is issued so is older than any later revocation of the provider.
        """
        successor = (fingerprint(pair.refresh), *claims.columns(kid))
        return bool(
            await connection.fetchval(QUERIES.accept_refresh, standing.hash, standing.seen, standing.now, *successor)
        )

    async def revoke(
        self, connection: Connection, family_id: UUID, now: datetime, reason: Literal["reuse", "client"]
    ) -> bool:
        """False if it was revoked already."""
        return bool(await connection.fetchval(QUERIES.revoke_family, family_id, now, reason))

    async def now(self, connection: Connection) -> datetime:
        """The clock that decides."""
        now: datetime = await connection.fetchval(QUERIES.now, self._instants())
        return now


async def add_token(
    connection: Connection, family_id: UUID, place: tuple[int, int], claims: IssuedClaims, *, kid: str, token: str
) -> None:
    """`place` is generation and sibling. Only the hash of `token` is kept."""
    await connection.execute(QUERIES.add_token, fingerprint(token), family_id, *place, *claims.columns(kid))


def _standing(row: asyncpg.Record) -> Standing:
    return Standing(
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
