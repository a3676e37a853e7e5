"""How keys are made, take turns and end: by schedule in every auth process, and by command. Each step is announced."""

import asyncio
import secrets
from datetime import datetime
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.documents import key_from
from metering_auth.adapters.postgres.outbox import Lane, announce, announce_entries, change
from metering_auth.adapters.postgres.rows import Connection
from metering_auth.adapters.postgres.signing_keys import QUERIES
from metering_auth.application.instants import Instants, database_clock
from metering_auth.domain.actor import Actor
from metering_auth.domain.keys import (
    Activate,
    ForgetPrivatePart,
    KeyStanding,
    KeyStep,
    KeyTimes,
    Publish,
    Retire,
    due_steps,
)
from metering_auth.domain.plain import as_plain
from metering_common.registry.documents import KeyState, document_key
from metering_common.service.sealed import Keyring

KEY_BITS = 2048
SCHEDULE = Actor("schedule", "auth")


class UnknownKeyError(Exception):
    """There is no such key, or it has ended already."""


class KeyLifecycle:
    """The steps of a key's life, each in one transaction with its announcement and its audit event."""

    def __init__(self, keyring: Keyring, times: KeyTimes, instants: Instants = database_clock) -> None:
        self._keyring = keyring
        self._times = times
        self._instants = instants

    async def ensure_first(self, connection: Connection) -> str | None:
        """Makes the first key, active at once since no token was signed before; its kid, or None if there are keys."""
        if await connection.fetch(QUERIES.kept_keys):
            return None
        new = await asyncio.to_thread(_NewKey, self._keyring)
        async with change(connection, Lane.FIRST):
            if await connection.fetch(QUERIES.kept_keys):
                return None  # another replica was first
            await self._add(connection, SCHEDULE, new, KeyState.ACTIVE)
        return new.kid

    async def follow_schedule(self, connection: Connection) -> list[KeyStep]:
        """Takes the steps that are due; cheap when there are none."""
        await self._mark_announced(connection)
        due = due_steps(await self._standings(connection), self._times, await self._now(connection))
        for step in due:
            await self._take(connection, step)
        return due

    async def rotate(self, connection: Connection, actor: Actor) -> str:
        """Publishes a new key, which the schedule makes active; the kid of the one that waits already if there is.

        Raises `SealedError` if the key that signs cannot be opened: what is sealed here no replica could open.
        """
        new = await asyncio.to_thread(_NewKey, self._keyring)
        async with change(connection, Lane.FIRST):
            await self._check_master_key(connection)
            for key in await self._standings(connection):
                if key.state is KeyState.PUBLISHED:
                    return key.kid
            await self._add(connection, actor, new, KeyState.PUBLISHED)
        return new.kid

    async def withdraw(self, connection: Connection, actor: Actor, kid: str) -> str | None:
        """Ends all that the key has signed, at ingest-api at once. If it was active, the kid that signs instead."""
        new = await asyncio.to_thread(_NewKey, self._keyring)
        async with change(connection, Lane.FIRST):
            now = await self._now(connection)
            keys = await self._standings(connection)
            row = await connection.fetchrow(QUERIES.withdraw_key, kid, now, int(now.timestamp()))
            if row is None:
                raise UnknownKeyError(f"key {kid!r} does not exist or has ended")
            await self._settle(connection, actor, "key.withdrawn", row)
            was_active = any(key.kid == kid and key.state is KeyState.ACTIVE for key in keys)
            return await self._replace(connection, actor, keys, new) if was_active else None

    async def rewrap(self, connection: Connection, actor: Actor) -> int:
        """Seals every private part under the newest master key; how many were under another."""
        rewrapped = 0
        async with change(connection, Lane.FIRST):
            for row in await connection.fetch(QUERIES.kept_keys):
                sealed: bytes | None = row["private_sealed"]
                fresh = None if sealed is None else self._keyring.rewrap(sealed, row["kid"].encode())
                if fresh == sealed:
                    continue
                await connection.execute(QUERIES.rewrap_key, row["kid"], fresh)
                rewrapped += 1
            facts = {"masterKey": self._keyring.newest.id, "rewrapped": rewrapped}
            await audit.record(connection, actor, "key.rewrapped", "key:*", after=facts)
        return rewrapped

    async def _take(self, connection: Connection, step: KeyStep) -> None:
        match step:
            case Publish():
                await self.rotate(connection, SCHEDULE)
            case Activate(kid):
                await self._activate(connection, SCHEDULE, kid)
            case ForgetPrivatePart(kid):
                await connection.execute(QUERIES.forget_private_part, kid)
            case Retire(kid):
                await self._retire(connection, kid)

    async def _activate(self, connection: Connection, actor: Actor, kid: str) -> None:
        """Another replica may have done it meanwhile: then nothing is changed."""
        async with change(connection, Lane.FIRST):
            if not any(key.kid == kid and key.state is KeyState.PUBLISHED for key in await self._standings(connection)):
                return
            now = await self._now(connection)
            for row in await connection.fetch(QUERIES.retire_active, now, self._times.accept_until(now)):
                await self._settle(connection, actor, "key.retiring", row)
            activated = await connection.fetchrow(QUERIES.activate_key, kid, now)
            await self._settle(connection, actor, "key.activated", activated)

    async def _retire(self, connection: Connection, kid: str) -> None:
        async with change(connection, Lane.FIRST):
            row = await connection.fetchrow(QUERIES.retire_key, kid, await self._now(connection))
            if row is not None:
                await announce_entries(connection, [(f"key:{kid}", None)])
                await audit.record(connection, SCHEDULE, "key.retired", f"key:{kid}")

    async def _replace(self, connection: Connection, actor: Actor, keys: list[KeyStanding], new: "_NewKey") -> str:
        """A published key if there is one, since the ingest-api replicas know it; else the new one, active at once."""
        for key in keys:
            if key.state is KeyState.PUBLISHED:
                row = await connection.fetchrow(QUERIES.activate_key, key.kid, await self._now(connection))
                await self._settle(connection, actor, "key.activated", row)
                return key.kid
        await self._add(connection, actor, new, KeyState.ACTIVE)
        return new.kid

    async def _add(self, connection: Connection, actor: Actor, new: "_NewKey", state: KeyState) -> None:
        now = await self._now(connection)
        row = await connection.fetchrow(QUERIES.add_key, new.kid, state.value, new.public_pem, new.sealed, now)
        await self._settle(connection, actor, f"key.{state.value}", row)

    async def _settle(self, connection: Connection, actor: Actor, action: str, row: asyncpg.Record | None) -> None:
        if row is None:
            raise UnknownKeyError("the key has changed meanwhile")
        document = key_from(row)
        await announce(connection, document)
        await audit.record(connection, actor, action, document_key(document), after=as_plain(document))

    async def _check_master_key(self, connection: Connection) -> None:
        for row in await connection.fetch(QUERIES.kept_keys):
            if row["state"] == KeyState.ACTIVE:
                self._keyring.open(row["private_sealed"], row["kid"].encode())

    async def _mark_announced(self, connection: Connection) -> None:
        now = await self._now(connection)
        for row in await connection.fetch(QUERIES.kept_keys):
            if row["announced_at"] is None:
                await connection.execute(QUERIES.announce_key, row["kid"], now)

    async def _standings(self, connection: Connection) -> list[KeyStanding]:
        return [_standing(row) for row in await connection.fetch(QUERIES.kept_keys)]

    async def _now(self, connection: Connection) -> datetime:
        now: datetime = await connection.fetchval(QUERIES.now, self._instants())
        return now


class _NewKey:
    """A fresh key pair: 2048 bits take some 100 ms, so it is made in a thread and before any lock."""

    def __init__(self, keyring: Keyring) -> None:
        private = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
        self.kid = secrets.token_hex(8)
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        self.sealed = keyring.seal(der, self.kid.encode())
        self.public_pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


async def list_keys(connection: Connection) -> list[dict[str, Any]]:
    """Every key there ever was, oldest first, with its times and the id of the master key it is sealed under."""
    return [dict(row) for row in await connection.fetch(QUERIES.all_keys)]


def _standing(row: asyncpg.Record) -> KeyStanding:
    return KeyStanding(
        kid=row["kid"],
        state=KeyState(row["state"]),
        announced_at=row["announced_at"],
        active_at=row["active_at"],
        retiring_at=row["retiring_at"] or row["withdrawn_at"],
        has_private_part=row["private_sealed"] is not None,
    )
