"""The poller's database as a person uses it: controllers, their codes, their mappings and their state."""

from collections.abc import Callable, Sequence

import asyncpg
import msgspec

from metering_common.postgres.instants import instant_of, unix_ms_of
from metering_common.postgres.pool import TimedPool
from metering_common.service.sealed import Keyring
from metering_ecl_poller.adapters.postgres.poll_store import QUERIES, open_account, sealed_context, trusted_spans
from metering_ecl_poller.domain.mapping import ControllerMapping, MappingVersion
from metering_ecl_poller.domain.portal.account import PortalAccount
from metering_ecl_poller.domain.schedule import soon_due_ms
from metering_ecl_poller.domain.trust import TrustedSpan


class UnknownControllerError(Exception):
    """No controller of that serial was added."""

    def __init__(self, serial: str) -> None:
        super().__init__(f"controller {serial} is not known: metering-ecl controller add")


class ControllerStore:
    """All but the polling itself. `due` computes when a controller is asked that was added, enabled or let in again."""

    def __init__(self, pool: TimedPool, keyring: Keyring, due: Callable[[str, int], int] = soon_due_ms) -> None:
        self._pool, self._keyring, self._due = pool, keyring, due

    async def add(self, account: PortalAccount, now_ms: int) -> bool:
        """True when it was not known; a known one gets new codes and is asked again."""
        server_code, access_code = (
            self._keyring.seal(secret.get_secret_value().encode(), sealed_context(account.serial, what))
            for secret, what in ((account.server_code, "server"), (account.access_code, "access"))
        )
        due = instant_of(self._due(account.serial, now_ms))
        values = (account.serial, account.portal, server_code, access_code, due)
        return bool(await self._pool.fetchval(QUERIES.add_controller, *values))

    async def enable(self, serial: str, now_ms: int) -> None:
        """Raises `UnknownControllerError`."""
        if await self._pool.fetchval(QUERIES.enable, serial, instant_of(self._due(serial, now_ms))) is None:
            raise UnknownControllerError(serial)

    async def remove(self, serial: str) -> None:
        """Raises `UnknownControllerError`. What was published stays."""
        if await self._pool.fetchval(QUERIES.remove_controller, serial) is None:
            raise UnknownControllerError(serial)

    async def held(self, serial: str | None = None) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._pool.fetch(QUERIES.held_channels, serial)
        return rows

    async def trusted_spans(self, serial: str) -> dict[str, tuple[TrustedSpan, ...]]:
        async with self._pool.acquire() as connection:
            return await trusted_spans(connection, serial)

    async def disable(self, serial: str) -> None:
        """Raises `UnknownControllerError`."""
        if await self._pool.fetchval(QUERIES.disable, serial) is None:
            raise UnknownControllerError(serial)

    async def account(self, serial: str) -> PortalAccount:
        """Raises `UnknownControllerError` and `SealedError`."""
        row = await self._pool.fetchrow(QUERIES.credentials, serial)
        if row is None:
            raise UnknownControllerError(serial)
        return open_account(self._keyring, serial, row)

    async def rewrap(self) -> int:
        """How many controllers' codes are now under the newest master key and were not before. Raises `SealedError`."""
        rewrapped = 0
        async with self._pool.acquire() as connection, connection.transaction():
            for row in await connection.fetch(QUERIES.sealed_codes):
                serial, sealed = row["serial"], (row["server_code"], row["access_code"])
                fresh = [
                    self._keyring.rewrap(code, sealed_context(serial, what))
                    for code, what in zip(sealed, ("server", "access"), strict=True)
                ]
                if tuple(fresh) != sealed:
                    await connection.execute(QUERIES.rewrap, serial, *fresh)
                    rewrapped += 1
        return rewrapped

    async def readmit(self, serial: str, now_ms: int) -> None:
        """After its codes were seen to open it: asked again soon."""
        await self._pool.execute(QUERIES.readmit, serial, instant_of(self._due(serial, now_ms)))

    async def controllers(self, serial: str | None = None) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._pool.fetch(QUERIES.controllers, serial)
        return rows

    async def devices(self, serial: str | None = None) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._pool.fetch(QUERIES.devices, serial)
        return rows

    async def gaps(self, serial: str | None = None) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self._pool.fetch(QUERIES.gaps, serial)
        return rows

    async def apply_mapping(self, mappings: Sequence[ControllerMapping], now_ms: int) -> int:
        """One version for all of them, or none of them. Raises `UnknownControllerError`.

        The controllers are polled soon: what was held and is taken now is read again.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            version = int(await connection.fetchval(QUERIES.next_mapping_version))
            for mapping in mappings:
                document = msgspec.json.encode(mapping).decode()
                due = instant_of(self._due(mapping.serial, now_ms))
                await connection.execute(QUERIES.make_due, mapping.serial, due)
                try:
                    await connection.execute(
                        QUERIES.apply_mapping, mapping.serial, version, instant_of(now_ms), document
                    )
                except asyncpg.ForeignKeyViolationError:
                    raise UnknownControllerError(mapping.serial) from None
        return version

    async def mappings(self, serial: str) -> list[MappingVersion]:
        """Oldest first."""
        times: dict[int, list[tuple[int, int]]] = {}
        for row in await self._pool.fetch(QUERIES.remapped, serial):
            times.setdefault(row["version"], []).append((unix_ms_of(row["from_at"]), unix_ms_of(row["to_at"])))
        return [
            MappingVersion(
                row["version"],
                msgspec.json.decode(row["document"], type=ControllerMapping),
                tuple(times.get(row["version"], ())),
            )
            for row in await self._pool.fetch(QUERIES.mappings, serial)
        ]

    async def note_remapped(self, serial: str, version: int, from_ms: int, to_ms: int) -> None:
        await self._pool.execute(QUERIES.note_remapped, serial, version, instant_of(from_ms), instant_of(to_ms))
