"""The dictionary of sensors: which variables the platform knows, in their order, and how their values are validated."""

from collections.abc import Sequence
from dataclasses import dataclass

from metering_auth.adapters.postgres import audit
from metering_auth.adapters.postgres.documents import QUERIES, sensor_from
from metering_auth.adapters.postgres.outbox import Lane, announce, change
from metering_auth.adapters.postgres.rows import Connection, one_row
from metering_auth.domain.actor import Actor
from metering_auth.domain.plain import as_plain
from metering_auth.domain.sensor_entries import SensorEntry, check_entry, refuse_taken, stored_terms
from metering_common.registry.documents import Sensor, document_key


@dataclass(frozen=True)
class ImportedSensors:
    """How many entries an import added, changed and found as they were."""

    added: int
    changed: int
    unchanged: int


async def sensors(connection: Connection) -> list[Sensor]:
    """The dictionary in its order."""
    return [sensor_from(row) for row in await connection.fetch(QUERIES.sensors)]


async def add_sensor(connection: Connection, actor: Actor, entry: SensorEntry) -> Sensor:
    """At the end of the dictionary; raises `InvalidEntryError` when the name or the alias is taken."""
    checked = check_entry(entry)
    async with change(connection, Lane.ORDINARY):
        refuse_taken(await sensors(connection), checked)
        return await _add(connection, actor, checked)


async def import_sensors(connection: Connection, actor: Actor, entries: Sequence[SensorEntry]) -> ImportedSensors:
    """Adds what is new and changes what differs, by name; nothing is removed. Safe to repeat."""
    added = changed = 0
    async with change(connection, Lane.ORDINARY):
        for entry in map(check_entry, entries):
            present = await sensors(connection)
            before = next((known for known in present if known.name == entry.name), None)
            refuse_taken([known for known in present if known is not before], entry)
            if before is None:
                await _add(connection, actor, entry)
                added += 1
            else:
                changed += await _change(connection, actor, before, entry)
    return ImportedSensors(added, changed, len(entries) - added - changed)


async def _add(connection: Connection, actor: Actor, entry: SensorEntry) -> Sensor:
    sensor = sensor_from(await one_row(connection, QUERIES.add_sensor, entry.name, *stored_terms(entry)))
    await announce(connection, sensor)
    await audit.record(connection, actor, "sensor.added", document_key(sensor), after=as_plain(sensor))
    return sensor


async def _change(connection: Connection, actor: Actor, before: Sensor, entry: SensorEntry) -> bool:
    after = sensor_from(await one_row(connection, QUERIES.set_sensor, entry.name, *stored_terms(entry)))
    if after == before:
        return False
    await announce(connection, after)
    await audit.record(
        connection, actor, "sensor.changed", document_key(after), before=as_plain(before), after=as_plain(after)
    )
    return True
