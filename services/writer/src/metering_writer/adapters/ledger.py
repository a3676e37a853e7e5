"""Sixth stop of a measure in the writer: its record's row in the ledger, its refusals, and what a replay closes."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from metering_common.contract.messages import Refusal, Status, Validated
from metering_common.postgres.instants import instant_of, instant_of_seconds
from metering_writer.adapters.session import Session
from metering_writer.domain.accounts import WriteResult
from metering_writer.domain.records import Record
from metering_writer.queries import sql

_LEDGER_COLUMNS = (
    "batch_id", "item", "items", "device_id", "provider_id", "gateway_id", "source", "received_at", "rev", "status",
    "measures", "values", "accepted", "refused", "not_taken", "repeated",
    "written", "corrected", "present", "superseded", "refusals_beyond",
    "raw_topic", "raw_partition", "raw_offset", "registry_epoch", "registry_position", "clock_doubtful",
    "traceparent", "replays", "error",
)  # fmt: skip
_REFUSAL_COLUMNS = (
    "batch_id", "item", "ordinal", "received_at", "device_id", "provider_id", "sensor_id", "sensor_name", "rule",
    "count", "first_at", "last_at", "samples",
)  # fmt: skip


async def without_known(session: Session, records: Sequence[Record]) -> list[Record]:
    """Without records whose result is in the ledger already: the first one wins."""
    if not records:
        return []
    found = await session.fetch(
        sql.known_records,
        [record.headers.batch_id for record in records],
        [record.headers.item for record in records],
        [received_at(record) for record in records],
    )
    known = {(row["batch_id"], row["item"]) for row in found}
    return [record for record in records if record.identity not in known]


async def write_ledger(session: Session, records: Sequence[Record], write_results: Sequence[WriteResult]) -> None:
    """One row per record. Raises asyncpg.UniqueViolationError when another transaction wrote one of them meanwhile."""
    rows = [_ledger_row(record, write_result) for record, write_result in zip(records, write_results, strict=True)]
    await session.copy_records_to_table("ingest_batch", records=rows, columns=_LEDGER_COLUMNS)
    refusals = [
        _refusal_row(record, ordinal, refusal)
        for record in records
        for ordinal, refusal in enumerate(record.validated.refusals)
    ]
    if refusals:
        await session.copy_records_to_table("rejected_measure", records=refusals, columns=_REFUSAL_COLUMNS)


async def close_replayed(session: Session, records: Iterable[Record]) -> None:
    """Ledger rows and refusals of records that these validated again now point to the new result."""
    for record in records:
        replayed = record.headers.replays
        if replayed is None or record.validated.status is not Status.VALIDATED:
            continue
        position = replayed.topic, replayed.partition, replayed.offset
        batch_id, at = record.headers.batch_id, received_at(record)
        closed = await session.fetch(sql.close_batch, batch_id, record.headers.device_id, at, *position)
        await session.executemany(sql.close_refusals, [(batch_id, row["batch_id"], row["item"], at) for row in closed])


def received_at(record: Record) -> datetime:
    return instant_of(record.headers.received_at_ms)


def _ledger_row(record: Record, write_result: WriteResult) -> tuple[object, ...]:
    headers, validated, counts = record.headers, record.validated, record.validated.counts
    return (
        headers.batch_id, headers.item, headers.items, headers.device_id, headers.provider_id, headers.gateway_id,
        headers.source, received_at(record), headers.rev, validated.status.value,
        counts.measures, counts.values, counts.accepted, counts.refused, counts.not_taken, counts.repeated,
        *write_result, validated.refusals_beyond,
        validated.raw.topic, validated.raw.partition, validated.raw.offset,
        headers.registry.epoch, headers.registry.position, headers.clock_doubtful,
        headers.traceparent, _text(headers.replays), _error(validated),
    )  # fmt: skip


def _refusal_row(record: Record, ordinal: int, refusal: Refusal) -> tuple[object, ...]:
    headers = record.headers
    return (
        headers.batch_id, headers.item, ordinal, received_at(record), headers.device_id, headers.provider_id,
        refusal.sensor, refusal.name, refusal.rule, refusal.count, _instant(refusal.first_at),
        _instant(refusal.last_at), msgspec.json.encode(refusal.samples).decode(),
    )  # fmt: skip


def _instant(unix_seconds: int | None) -> datetime | None:
    """None too for what no calendar says: a refused timestamp may be any number."""
    try:
        return None if unix_seconds is None else instant_of_seconds(unix_seconds)
    except OverflowError:
        return None


def _text(value: object | None) -> str | None:
    return None if value is None else str(value)


def _error(validated: Validated) -> str | None:
    """NUL cannot stand in PostgreSQL's text."""
    return validated.error.replace("\0", "\\0") if validated.error is not None else None
