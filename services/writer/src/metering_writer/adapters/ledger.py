"""An entry's row in the ledger, its refusals, and what a replay closes."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from metering_common.contract.messages import Refusal, Status
from metering_common.postgres.instants import instant_of, instant_of_seconds
from metering_writer.adapters.copying import copy_binary
from metering_writer.adapters.session import Session
from metering_writer.domain.accounts import WriteResult
from metering_writer.domain.entries import ValidatedEntry
from metering_writer.domain.ledger_rows import LEDGER_COLUMNS, ledger_rows
from metering_writer.queries import sql

_REFUSAL_COLUMNS = (
    "batch_id", "item", "ordinal", "received_at", "device_id", "provider_id", "sensor_id", "sensor_name", "rule",
    "count", "first_at", "last_at", "samples",
)  # fmt: skip


async def without_known(session: Session, entries: Sequence[ValidatedEntry]) -> list[ValidatedEntry]:
    """Without entries whose result is in the ledger already: the first one wins."""
    found = await session.fetch(
        sql.known_entries,
        [entry.metadata.batch_id for entry in entries],
        [entry.metadata.item for entry in entries],
        [received_at(entry) for entry in entries],
    )
    known = {(row["batch_id"], row["item"]) for row in found}
    return [entry for entry in entries if entry.identity not in known]


async def write_ledger(
    session: Session, entries: Sequence[ValidatedEntry], write_results: Sequence[WriteResult]
) -> None:
    """One row per entry, in the order of the key: two writers wait for each other, and never in a circle.

    Raises asyncpg.UniqueViolationError when one of them is there already.
    """
    await copy_binary(session, "ingest_batch", LEDGER_COLUMNS, ledger_rows(entries, write_results))
    refusals = [
        _refusal_row(entry, ordinal, refusal)
        for entry in sorted((one for one in entries if one.validated.refusals), key=lambda one: one.identity)
        for ordinal, refusal in enumerate(entry.validated.refusals)
    ]
    if refusals:
        await session.copy_records_to_table("rejected_measure", records=refusals, columns=_REFUSAL_COLUMNS)


async def close_replayed(session: Session, entries: Iterable[ValidatedEntry]) -> None:
    """Ledger rows and refusals of entries that these validated again now point to the new result."""
    replays = [
        (replayed, entry)
        for entry in entries
        if (replayed := entry.metadata.replays) is not None and entry.validated.status is Status.VALIDATED
    ]
    for replayed, entry in sorted(replays, key=lambda one: (one[1].metadata.received_at_ms, str(one[0]))):
        position = replayed.topic, replayed.partition, replayed.offset, replayed.index
        batch_id, at = entry.metadata.batch_id, received_at(entry)
        closed = await session.fetch(sql.close_batch, batch_id, entry.metadata.device_id, at, *position)
        await session.executemany(sql.close_refusals, [(batch_id, row["batch_id"], row["item"], at) for row in closed])


def received_at(entry: ValidatedEntry) -> datetime:
    return instant_of(entry.metadata.received_at_ms)


def _refusal_row(entry: ValidatedEntry, ordinal: int, refusal: Refusal) -> tuple[object, ...]:
    metadata = entry.metadata
    return (
        metadata.batch_id, metadata.item, ordinal, received_at(entry), metadata.device_id, metadata.provider_id,
        refusal.sensor, refusal.name, refusal.rule, refusal.count, _instant(refusal.first_at),
        _instant(refusal.last_at), msgspec.json.encode(refusal.samples).decode(),
    )  # fmt: skip


def _instant(unix_seconds: int | None) -> datetime | None:
    """None too for what no calendar says: a refused timestamp may be any number."""
    try:
        return None if unix_seconds is None else instant_of_seconds(unix_seconds)
    except OverflowError:
        return None
