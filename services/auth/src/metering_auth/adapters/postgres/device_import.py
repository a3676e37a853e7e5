"""Many devices from a file: staged first, taken all at once in one transaction, or not at all."""

import csv
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TextIO
from uuid import UUID, uuid4

import asyncpg
import msgspec

from metering_auth.adapters.postgres import audit, owners, sensors
from metering_auth.adapters.postgres.documents import QUERIES, device_from, encoded, exchanges_from, rates_from
from metering_auth.adapters.postgres.outbox import Lane, announce_entries, change
from metering_auth.adapters.postgres.rows import Connection
from metering_auth.domain.actor import Actor
from metering_auth.domain.device_lines import (
    COLUMNS,
    SEPARATOR,
    DeviceLine,
    Dictionary,
    LineFault,
    check_header,
    read_line,
)
from metering_auth.domain.plain import as_plain
from metering_auth.domain.register_terms import written_exchange, written_rate
from metering_auth.domain.texts import InvalidEntryError
from metering_common.registry.documents import Device, document_key, encode_document

CHUNK_LINES = 5_000

Progress = Callable[[str, int], None]
"""Told what is being done and how many lines or devices more are done."""


@dataclass
class ImportReport:
    """What became of a file. If nothing was imported, `faults` say why."""

    read: int = 0
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    imported: bool = False
    faults: list[LineFault] = field(default_factory=list)


async def import_devices(
    connection: Connection, actor: Actor, provider_id: int, file: TextIO, *, partial: bool, progress: Progress
) -> ImportReport:
    """Adds and changes the provider's devices by number. A bad line stops the whole unless `partial`.

    Staging holds no lock. Taking holds the ordinary lane only, so a revocation meanwhile does not wait.
    Raises `InvalidEntryError` for an unknown provider or a file that is not one of devices.
    """
    async with connection.transaction():
        await owners.provider_by_id(connection, provider_id)
    await connection.execute(QUERIES.forget_old_imports)
    import_id, report = uuid4(), ImportReport()
    try:
        await _stage(connection, import_id, file, report, progress)
        if partial or not report.faults:
            await _take(connection, actor, provider_id, import_id=import_id, report=report, progress=progress)
    finally:
        await connection.execute(QUERIES.drop_import, import_id)
    return report


async def export_devices(connection: Connection, provider_id: int, file: TextIO) -> int:
    """The provider's devices as a file that `import_devices` reads; how many."""
    names = {sensor.id: sensor.name for sensor in await sensors.sensors(connection)}
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    count = 0
    async with connection.transaction(readonly=True):
        async for row in connection.cursor(QUERIES.devices, provider_id, prefetch=CHUNK_LINES):
            writer.writerow(_cells(device_from(row), names))
            count += 1
    return count


async def _stage(
    connection: Connection, import_id: UUID, file: TextIO, report: ImportReport, progress: Progress
) -> None:
    lines = _lines(file, Dictionary(await sensors.sensors(connection)), report)
    while chunk := list(islice(lines, CHUNK_LINES)):
        await connection.copy_records_to_table(
            "device_import_line",
            columns=_STAGED_COLUMNS,
            records=[(import_id, number, *_columns(line)) for number, line in chunk],
        )
        progress("reading", len(chunk))


def _lines(file: TextIO, dictionary: Dictionary, report: ImportReport) -> Iterator[tuple[int, DeviceLine]]:
    """The good lines with their numbers; the bad ones go to the report."""
    reader = csv.DictReader(file, strict=True)
    check_header(reader.fieldnames)
    seen: dict[str, int] = {}
    for number, cells in _records(reader, report):
        report.read += 1
        try:
            line = read_line(cells, dictionary)
            if (before := seen.setdefault(line.number, number)) != number:
                raise InvalidEntryError(f"number {line.number!r} stands in line {before} already")  # noqa: TRY301  as any fault of the line
        except InvalidEntryError as error:
            report.faults.append(LineFault(number, str(error)))
        else:
            yield number, line


def _records(reader: "csv.DictReader[str]", report: ImportReport) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Text that is no CSV, or no UTF-8, ends the file there."""
    try:
        for cells in reader:
            yield reader.line_num, dict(cells)
    except (csv.Error, UnicodeDecodeError) as error:
        report.faults.append(LineFault(reader.line_num + 1, f"the file cannot be read on: {error}"))


async def _take(
    connection: Connection, actor: Actor, provider_id: int, *, import_id: UUID, report: ImportReport, progress: Progress
) -> None:
    """Nobody sees a part of it: devices, announcements and audit events are committed together."""
    async with change(connection, Lane.ORDINARY):
        rows: list[asyncpg.Record] = []
        async for row in connection.cursor(QUERIES.take_import, import_id, provider_id, prefetch=CHUNK_LINES):
            rows.append(row)
            if len(rows) == CHUNK_LINES:
                await _settle(connection, actor, rows, report, progress)
                rows = []
        await _settle(connection, actor, rows, report, progress)
        report.unchanged = report.read - len(report.faults) - report.added - report.changed
        facts = {"added": report.added, "changed": report.changed, "badLines": len(report.faults)}
        await audit.record(connection, actor, "device.imported", f"provider:{provider_id}", after=facts)
    report.imported = True


async def _settle(
    connection: Connection, actor: Actor, rows: list[asyncpg.Record], report: ImportReport, progress: Progress
) -> None:
    """Announces these devices and writes down what each of them was and is."""
    if not rows:
        return
    devices = [device_from(row) for row in rows]
    await announce_entries(connection, [(document_key(device), encode_document(device)) for device in devices])
    acts: dict[bool, list[audit.Act]] = {True: [], False: []}
    for row, device in zip(rows, devices, strict=True):
        before = None if row["added"] else as_plain(_before(row, device))
        acts[row["added"]].append((document_key(device), before, as_plain(device)))
    await audit.record_all(connection, actor, "device.added", acts[True])
    await audit.record_all(connection, actor, "device.changed", acts[False])
    report.added += len(acts[True])
    report.changed += len(acts[False])
    progress("taking", len(rows))


def _before(row: asyncpg.Record, device: Device) -> Device:
    return msgspec.structs.replace(
        device,
        sensors=tuple(row["sensors_before"]),
        zone=row["zone_before"],
        interval_seconds=row["interval_seconds_before"],
        maximum_rates=rates_from(row["maximum_rates_before"]),
        exchanges=exchanges_from(row["exchanges_before"]),
        active=row["active_before"],
    )


_STAGED_COLUMNS = (
    "import_id", "line", "number", "sensors", "zone", "interval_seconds", "maximum_rates", "exchanges", "active",
)  # fmt: skip


def _columns(line: DeviceLine) -> tuple[object, ...]:
    return (
        line.number,
        list(line.sensors),
        line.zone,
        line.interval_seconds,
        encoded(line.maximum_rates or {}),
        encoded(line.exchanges),
        line.active,
    )


def _cells(device: Device, names: dict[int, str]) -> Iterable[object]:
    return (
        device.number,
        device.zone,
        "" if device.interval_seconds is None else device.interval_seconds,
        "true" if device.active else "false",
        SEPARATOR.join(names[sensor] for sensor in device.sensors),
        SEPARATOR.join(written_rate(names[sensor], rate) for sensor, rate in (device.maximum_rates or {}).items()),
        SEPARATOR.join(written_exchange(names[each.sensor], each) for each in device.exchanges),
    )
