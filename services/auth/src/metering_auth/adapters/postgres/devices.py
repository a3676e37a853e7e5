"""Devices: the meters, whose they are, and what is taken from their measurements."""

from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec

from metering_auth.adapters.postgres import audit, owners, sensors
from metering_auth.adapters.postgres.documents import QUERIES, device_from
from metering_auth.adapters.postgres.outbox import Lane, announce, change
from metering_auth.adapters.postgres.rows import Connection, one_row
from metering_auth.domain.actor import Actor
from metering_auth.domain.device_lines import DEFAULT_ZONE, checked_exchanges, checked_interval
from metering_auth.domain.plain import as_plain
from metering_auth.domain.sensor_entries import resolve
from metering_auth.domain.texts import InvalidEntryError, NotRegisteredError, normalised
from metering_auth.domain.zones import checked_zone
from metering_common.registry.documents import Device, document_key


class DeviceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is given. Without `sensors` the whole dictionary is taken from it."""

    provider_id: int
    number: str
    sensors: Sequence[Any] | None = None
    """Names, aliases, or objects with a `name`."""
    zone: str = DEFAULT_ZONE
    interval_seconds: int | None = None
    meter_exchanges: tuple[int, ...] = ()
    active: bool = True


class DeviceChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be changed of a device; what is absent stays."""

    sensors: Sequence[Any] | None = None
    zone: str | None = None
    interval_seconds: int | None = None
    exchanged_at: int | None = None
    """Unix seconds of one more meter exchange."""
    active: bool | None = None


async def devices(connection: Connection, provider_id: int | None = None) -> list[Device]:
    """All of them, or one provider's."""
    return [device_from(row) for row in await connection.fetch(QUERIES.devices, provider_id)]


async def add_device(connection: Connection, actor: Actor, entry: DeviceEntry) -> Device:
    """Raises `InvalidEntryError`, also when the provider has a device of this number already."""
    number = normalised(entry.number, "the device's number")
    check_terms(entry.zone, entry.interval_seconds, entry.meter_exchanges)
    try:
        async with change(connection, Lane.ORDINARY):
            await owners.provider_by_id(connection, entry.provider_id)
            arguments = (
                number,
                await _listed(connection, entry.sensors),
                entry.zone,
                entry.interval_seconds,
                sorted(set(entry.meter_exchanges)),
                entry.active,
            )
            row = await one_row(connection, QUERIES.add_device, entry.provider_id, *arguments)
            return await _settled(connection, actor, "device.added", None, device_from(row))
    except asyncpg.UniqueViolationError:
        raise InvalidEntryError(f"provider {entry.provider_id} has a device of number {number!r} already") from None


async def change_device(connection: Connection, actor: Actor, device_id: int, wanted: DeviceChange) -> Device:
    """Raises `InvalidEntryError`, as `NotRegisteredError` for an unknown device."""
    async with change(connection, Lane.ORDINARY):
        row = await connection.fetchrow(QUERIES.device, device_id)
        if row is None:
            raise NotRegisteredError(f"device {device_id} is not registered")
        before = device_from(row)
        after = await _changed(connection, before, wanted)
        check_terms(after.zone, after.interval_seconds, after.meter_exchanges)
        await connection.fetchrow(QUERIES.set_device, device_id, *stored_terms(after))
        return await _settled(connection, actor, "device.changed", before, after)


def stored_terms(device: Device) -> tuple[Any, ...]:
    """Everything of a device but whose it is and its number, as its table's columns."""
    return (list(device.sensors), device.zone, device.interval_seconds, list(device.meter_exchanges), device.active)


def check_terms(zone: str, interval_seconds: int | None, meter_exchanges: Sequence[int]) -> None:
    """Raises `InvalidEntryError`."""
    checked_zone(zone)
    if interval_seconds is not None:
        checked_interval(interval_seconds)
    checked_exchanges(meter_exchanges)


async def _changed(connection: Connection, before: Device, wanted: DeviceChange) -> Device:
    exchanges = set(before.meter_exchanges) | ({wanted.exchanged_at} if wanted.exchanged_at is not None else set())
    return msgspec.structs.replace(
        before,
        sensors=before.sensors if wanted.sensors is None else tuple(await _listed(connection, wanted.sensors)),
        zone=wanted.zone or before.zone,
        interval_seconds=before.interval_seconds if wanted.interval_seconds is None else wanted.interval_seconds,
        meter_exchanges=tuple(sorted(exchanges)),
        active=before.active if wanted.active is None else wanted.active,
    )


async def _listed(connection: Connection, named: Sequence[Any] | None) -> list[int]:
    dictionary = await sensors.sensors(connection)
    return [known.id for known in dictionary] if named is None else list(resolve(named, dictionary))


async def _settled(connection: Connection, actor: Actor, action: str, before: Device | None, after: Device) -> Device:
    await announce(connection, after)
    facts = None if before is None else as_plain(before)
    await audit.record(connection, actor, action, document_key(after), before=facts, after=as_plain(after))
    return after
