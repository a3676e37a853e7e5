"""Devices: the meters, whose they are, and what is taken from their measurements."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import asyncpg
import msgspec

from metering_auth.adapters.postgres import audit, owners, sensors
from metering_auth.adapters.postgres.documents import QUERIES, device_from, encoded
from metering_auth.adapters.postgres.outbox import Lane, announce, change
from metering_auth.adapters.postgres.rows import Connection, one_row
from metering_auth.domain.actor import Actor
from metering_auth.domain.device_lines import DEFAULT_ZONE
from metering_auth.domain.plain import as_plain
from metering_auth.domain.register_terms import checked_exchanges, checked_rates, register_named
from metering_auth.domain.sensor_entries import resolve
from metering_auth.domain.texts import InvalidEntryError, NotRegisteredError, checked_interval, normalised
from metering_auth.domain.zones import checked_zone
from metering_common.registry.documents import Device, MeterExchange, Sensor, document_key


class DeviceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is given. Without `sensors` the whole dictionary is taken from it."""

    provider_id: int
    number: str
    sensors: Sequence[Any] | None = None
    """Names, aliases, or objects with a `name`."""
    zone: str = DEFAULT_ZONE
    interval_seconds: int | None = None
    maximum_rates: Mapping[str, float] = msgspec.field(default_factory=dict)
    """By a register's name or alias, the most that it counts in an hour."""
    active: bool = True


class DeviceChange(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be changed of a device; what is absent stays."""

    sensors: Sequence[Any] | None = None
    zone: str | None = None
    interval_seconds: int | None = None
    maximum_rates: Mapping[str, float | None] = msgspec.field(default_factory=dict)
    """By a register's name or alias; None takes the device's own rate away."""
    active: bool | None = None


class ExchangeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange of one register as it is given."""

    sensor: str
    """Name or alias."""
    at: int
    """Unix seconds."""
    closing: float | None = None
    opening: float | None = None


async def devices(connection: Connection, provider_id: int | None = None) -> list[Device]:
    """All of them, or one provider's."""
    return [device_from(row) for row in await connection.fetch(QUERIES.devices, provider_id)]


async def add_device(connection: Connection, actor: Actor, entry: DeviceEntry) -> Device:
    """Raises `InvalidEntryError`, also when the provider has a device of this number already."""
    number = normalised(entry.number, "the device's number")
    check_terms(entry.zone, entry.interval_seconds)
    try:
        async with change(connection, Lane.ORDINARY):
            await owners.provider_by_id(connection, entry.provider_id)
            dictionary = await sensors.sensors(connection)
            rates = {register_named(name, dictionary): rate for name, rate in entry.maximum_rates.items()}
            arguments = (
                number,
                _listed(dictionary, entry.sensors),
                entry.zone,
                entry.interval_seconds,
                encoded(checked_rates(rates) or {}),
                encoded(()),
                entry.active,
            )
            row = await one_row(connection, QUERIES.add_device, entry.provider_id, *arguments)
            return await _settled(connection, actor, "device.added", None, device_from(row))
    except asyncpg.UniqueViolationError:
        raise InvalidEntryError(f"provider {entry.provider_id} has a device of number {number!r} already") from None


async def change_device(connection: Connection, actor: Actor, device_id: int, wanted: DeviceChange) -> Device:
    """Raises `InvalidEntryError`, as `NotRegisteredError` for an unknown device."""
    return await _change(connection, actor, device_id, lambda before, dictionary: _changed(before, dictionary, wanted))


async def add_exchange(connection: Connection, actor: Actor, device_id: int, given: ExchangeEntry) -> Device:
    """Of one register at one time; raises as `change_device`, also where one is noted for that time already."""
    return await _change(connection, actor, device_id, lambda before, dictionary: _exchanged(before, dictionary, given))


async def remove_exchange(connection: Connection, actor: Actor, device_id: int, given: ExchangeEntry) -> Device:
    """The exchange of that register at that time; raises as `change_device`, also where none is noted."""
    return await _change(connection, actor, device_id, lambda before, dictionary: _without(before, dictionary, given))


async def device_by_id(connection: Connection, device_id: int) -> Device:
    """Raises `NotRegisteredError`. Locked against other changes for as long as a transaction lasts."""
    row = await connection.fetchrow(QUERIES.device, device_id)
    if row is None:
        raise NotRegisteredError(f"device {device_id} is not registered")
    return device_from(row)


async def _change(
    connection: Connection, actor: Actor, device_id: int, changed: Callable[[Device, Sequence[Sensor]], Device]
) -> Device:
    async with change(connection, Lane.ORDINARY):
        before = await device_by_id(connection, device_id)
        after = changed(before, await sensors.sensors(connection))
        await connection.fetchrow(QUERIES.set_device, device_id, *stored_terms(after))
        return await _settled(connection, actor, "device.changed", before, after)


def stored_terms(device: Device) -> tuple[Any, ...]:
    """Everything of a device but whose it is and its number, as its table's columns."""
    registers = encoded(device.maximum_rates or {}), encoded(device.exchanges)
    return (list(device.sensors), device.zone, device.interval_seconds, *registers, device.active)


def check_terms(zone: str, interval_seconds: int | None) -> None:
    """Raises `InvalidEntryError`."""
    checked_zone(zone)
    if interval_seconds is not None:
        checked_interval(interval_seconds)


def _changed(before: Device, dictionary: Sequence[Sensor], wanted: DeviceChange) -> Device:
    given = {register_named(name, dictionary): rate for name, rate in wanted.maximum_rates.items()}
    rates = {sensor: rate for sensor, rate in ((before.maximum_rates or {}) | given).items() if rate is not None}
    after = msgspec.structs.replace(
        before,
        sensors=before.sensors if wanted.sensors is None else tuple(_listed(dictionary, wanted.sensors)),
        zone=wanted.zone or before.zone,
        interval_seconds=before.interval_seconds if wanted.interval_seconds is None else wanted.interval_seconds,
        maximum_rates=checked_rates(rates),
        active=before.active if wanted.active is None else wanted.active,
    )
    check_terms(after.zone, after.interval_seconds)
    return after


def _exchanged(before: Device, dictionary: Sequence[Sensor], given: ExchangeEntry) -> Device:
    one = MeterExchange(
        sensor=register_named(given.sensor, dictionary), at=given.at, closing=given.closing, opening=given.opening
    )
    return msgspec.structs.replace(before, exchanges=checked_exchanges([*before.exchanges, one]))


def _without(before: Device, dictionary: Sequence[Sensor], given: ExchangeEntry) -> Device:
    (sensor,) = resolve([given.sensor], dictionary)
    kept = tuple(one for one in before.exchanges if (one.sensor, one.at) != (sensor, given.at))
    if len(kept) == len(before.exchanges):
        raise InvalidEntryError(f"device {before.id} has no exchange of {given.sensor!r} at that time: list them first")
    return msgspec.structs.replace(before, exchanges=kept)


def _listed(dictionary: Sequence[Sensor], named: Sequence[Any] | None) -> list[int]:
    return [known.id for known in dictionary] if named is None else list(resolve(named, dictionary))


async def _settled(connection: Connection, actor: Actor, action: str, before: Device | None, after: Device) -> Device:
    await announce(connection, after)
    facts = None if before is None else as_plain(before)
    await audit.record(connection, actor, action, document_key(after), before=facts, after=as_plain(after))
    return after
