"""Families of refresh tokens in PostgreSQL: one row lock per family, every decision read after it is held."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID, uuid4

import asyncpg

from metering_auth.identity.domain.rotation import KnownToken, Owner, Step
from metering_auth.identity.domain.tokens import Claims, SigningMaterial, TokenUse, fingerprint, sign
from metering_auth.identity.instants import Instants, database_clock
from metering_auth.identity.refusals import RefreshRefusedError
from metering_auth.identity.signing_keys import QUERIES, Connection
from metering_common.postgres import TimedPool


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
class Family:
    """Whom a presented token belongs to."""

    id: UUID
    gateway_id: int
    provider_id: int


@dataclass(frozen=True)
class Standing:
    """What is known of a presented token once its family is locked."""

    now: datetime
    token: KnownToken
    owner: Owner
    generation: int
    sibling: int
    active_kid: str | None
    next_sibling: int
    successor: IssuedClaims | None
    successor_kid: str | None
    """None if that key may not sign any more."""


class LockedFamily:
    """One family inside its transaction."""

    def __init__(
        self, connection: Connection, token: str, family: Family, instants: Instants, *, revoked: bool
    ) -> None:
        self.connection = connection
        self.family = family
        self._hash = fingerprint(token)
        self._instants = instants
        self._revoked = revoked

    async def standing(self) -> Standing:
        """Read after the lock; what is issued here is older than any later revocation of the provider."""
        row = await self.connection.fetchrow(QUERIES.standing, self._hash, self._instants())
        if row is None:
            raise RefreshRefusedError(Step.EXPIRED)  # forgotten since the family was found
        return _standing(row, family_revoked=self._revoked)

    async def accept_and_add(self, standing: Standing, claims: IssuedClaims, kid: str, token: str) -> None:
        """The presented token is the accepted one of its generation; `token` is one more of the next."""
        await self.connection.execute(
            QUERIES.accept_and_add,
            self.family.id,
            standing.generation,
            standing.sibling,
            standing.now,
            standing.next_sibling,
            fingerprint(token),
            *claims.columns(kid),
        )

    async def revoke(self, now: datetime, reason: Literal["reuse", "client"]) -> bool:
        """False if it was revoked already."""
        return bool(await self.connection.fetchval(QUERIES.revoke_family, self.family.id, now, reason))


class TokenStore:
    """Where families are found."""

    def __init__(self, pool: TimedPool, instants: Instants = database_clock) -> None:
        self._pool = pool
        self._instants = instants

    @asynccontextmanager
    async def locked(self, token: str) -> AsyncIterator[LockedFamily | None]:
        """The family of a presented token; None if no such token is known. Commits when the block ends well."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(QUERIES.lock_family, fingerprint(token))
            if row is None:
                yield None
                return
            family = Family(row["family_id"], row["gateway_id"], row["provider_id"])
            yield LockedFamily(connection, token, family, self._instants, revoked=row["family_revoked"])

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """For what is not about one known family."""
        async with self._pool.acquire() as connection:
            yield connection

    async def now(self, connection: Connection) -> datetime:
        """The clock that decides."""
        now: datetime = await connection.fetchval(QUERIES.now, self._instants())
        return now


async def add_token(
    connection: Connection, family_id: UUID, place: tuple[int, int], claims: IssuedClaims, *, kid: str, token: str
) -> None:
    """`place` is generation and sibling. Only the hash of `token` is kept."""
    await connection.execute(QUERIES.add_token, fingerprint(token), family_id, *place, *claims.columns(kid))


def _standing(row: asyncpg.Record, *, family_revoked: bool) -> Standing:
    successor = row["successor_sibling"]
    return Standing(
        now=row["now"],
        token=KnownToken(row["issued_at"], row["expires_at"], row["superseded_at"], row["successor_at"]),
        owner=Owner(family_revoked, row["active"], row["revoked_at"]),
        generation=row["generation"],
        sibling=row["sibling"],
        active_kid=row["active_kid"],
        next_sibling=0 if successor is None else successor + 1,
        successor=None if successor is None else _successor(row),
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
