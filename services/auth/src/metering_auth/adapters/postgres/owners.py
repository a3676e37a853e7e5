"""Providers and gateways: who may send, until when their tokens hold, and how that reaches every ingest-api."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.documents import QUERIES, gateway_from, provider_from
from metering_auth.adapters.postgres.outbox import Lane, announce, change
from metering_auth.adapters.postgres.rows import Connection, one_row
from metering_auth.domain.actor import Actor
from metering_auth.domain.plain import as_plain
from metering_auth.domain.texts import NotRegisteredError, normalised
from metering_common.registry.documents import Gateway, Provider, document_key

T = TypeVar("T", Provider, Gateway)


async def add_provider(connection: Connection, actor: Actor, name: str) -> Provider:
    """Raises `InvalidEntryError`."""
    plain = normalised(name, "the provider's name")
    async with change(connection, Lane.FIRST):
        provider = provider_from(await one_row(connection, QUERIES.add_provider, plain))
        return await _settled(connection, actor, "provider.added", None, provider)


async def add_gateway(connection: Connection, actor: Actor, provider_id: int, name: str) -> Gateway:
    """Raises `InvalidEntryError`, as `NotRegisteredError` for an unknown provider."""
    plain = normalised(name, "the gateway's name")
    async with change(connection, Lane.FIRST):
        await provider_by_id(connection, provider_id)
        gateway = gateway_from(await one_row(connection, QUERIES.add_gateway, provider_id, plain))
        return await _settled(connection, actor, "gateway.added", None, gateway)


async def providers(connection: Connection) -> list[Provider]:
    return [provider_from(row) for row in await connection.fetch(QUERIES.providers)]


async def gateways(connection: Connection, provider_id: int | None = None) -> list[Gateway]:
    """All of them, or one provider's."""
    return [gateway_from(row) for row in await connection.fetch(QUERIES.gateways, provider_id)]


async def provider_by_id(connection: Connection, provider_id: int) -> Provider:
    """Locked until the transaction ends; raises `NotRegisteredError`."""
    return provider_from(_found(await connection.fetchrow(QUERIES.provider, provider_id), f"provider {provider_id}"))


async def gateway_by_id(connection: Connection, gateway_id: int) -> Gateway:
    """Locked until the transaction ends; raises `NotRegisteredError`."""
    return gateway_from(_found(await connection.fetchrow(QUERIES.gateway, gateway_id), f"gateway {gateway_id}"))


async def set_provider_active(connection: Connection, actor: Actor, provider_id: int, *, active: bool) -> Provider:
    """A disabled provider's tokens are refused everywhere until it is enabled again; they are not void."""
    async with change(connection, Lane.FIRST):
        before = await provider_by_id(connection, provider_id)
        row = await one_row(connection, QUERIES.set_provider, provider_id, active, before.revoked_at)
        action = "provider.enabled" if active else "provider.disabled"
        return await _settled(connection, actor, action, before, provider_from(row))


async def set_gateway_active(connection: Connection, actor: Actor, gateway_id: int, *, active: bool) -> Gateway:
    """A disabled gateway's tokens are refused everywhere until it is enabled again; they are not void."""
    async with change(connection, Lane.FIRST):
        before = await gateway_by_id(connection, gateway_id)
        row = await one_row(connection, QUERIES.set_gateway, gateway_id, active, before.revoked_at)
        action = "gateway.enabled" if active else "gateway.disabled"
        return await _settled(connection, actor, action, before, gateway_from(row))


Instant = Callable[[Connection, int], Awaitable[int]]
"""Waits for the provider's refreshes in flight, then tells the Unix second at or before which all tokens are void."""


async def revoke_gateway(connection: Connection, actor: Actor, gateway_id: int, instant: Instant) -> Gateway:
    """Every token issued to the gateway until now is void for ever; it may be issued a new one."""
    async with change(connection, Lane.FIRST):
        before = await gateway_by_id(connection, gateway_id)
        row = await one_row(
            connection, QUERIES.set_gateway, gateway_id, before.active, await instant(connection, before.provider)
        )
        return await _settled(connection, actor, "gateway.revoked", before, gateway_from(row))


async def revoke_provider(connection: Connection, actor: Actor, provider_id: int, instant: Instant) -> Provider:
    """Every token issued to any of the provider's gateways until now is void for ever."""
    async with change(connection, Lane.FIRST):
        before = await provider_by_id(connection, provider_id)
        row = await one_row(
            connection, QUERIES.set_provider, provider_id, before.active, await instant(connection, provider_id)
        )
        return await _settled(connection, actor, "provider.revoked", before, provider_from(row))


async def _settled(connection: Connection, actor: Actor, action: str, before: T | None, after: T) -> T:
    await announce(connection, after)
    facts: dict[str, Any] | None = None if before is None else as_plain(before)
    await audit.record(connection, actor, action, document_key(after), before=facts, after=as_plain(after))
    return after


def _found(row: asyncpg.Record | None, what: str) -> asyncpg.Record:
    if row is None:
        raise NotRegisteredError(f"{what} is not registered")
    return row
