"""Fifth stop of a measure in the writer: rows go into `measurement`, new ones by COPY, the rest by upsert or UPDATE."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np

from metering_writer.adapters.session import Session
from metering_writer.domain.accounts import WriteResult, written_by
from metering_writer.domain.columns import (
    COPY_COLUMNS,
    COPY_HEADER,
    COPY_TRAILER,
    Block,
    Mask,
    copy_blocks,
    copy_values,
    values_of,
)
from metering_writer.domain.corrections import Corrections
from metering_writer.domain.keys import Keys, among, grouped, keys_of, ranges_of, repeated_in, split
from metering_writer.domain.versions import Candidates, ExistingRows, decide, parse_existing
from metering_writer.queries import sql


class WrittenRows(NamedTuple):
    """What became of a batch's rows."""

    write_results: list[WriteResult]
    """Per record of the batch."""
    corrections: Corrections | None
    """What gave way; None where every key was new."""


async def write_rows(
    session: Session, blocks: Sequence[Block], records: int, *, hypertables: bool, via_staging: bool
) -> WrittenRows:
    """Writes all rows within the caller's transaction (repeatable read).

    Raises asyncpg.UniqueViolationError when another transaction wrote one of the keys meanwhile: the caller then
    comes again with `via_staging`, which does without COPY into the table itself. Rows that stand are updated, and in
    `hypertables` upserted, as all staged ones are when some of them may be new.
    """
    suspects = await _suspects(session, keys_of(blocks), all_suspect=via_staging)
    new, perhaps_present = split(blocks, suspects.measures)
    write_results, corrections = written_by(new, records), None
    to_copy = copy_blocks(new)
    if perhaps_present:
        decided = decide(Candidates.of(values_of(perhaps_present)), suspects.existing, records)
        corrections = decided.corrections
        write_results = [
            write_result.plus(other) for write_result, other in zip(write_results, decided.write_results, strict=True)
        ]
        staged = [copy_values(decided.better)] if len(decided.better.ts) else []
        if len(decided.new.ts):
            (staged if via_staging else to_copy).append(copy_values(decided.new))
        if staged:
            await _write_over(session, staged, sql.upsert_staged if hypertables or via_staging else sql.update_staged)
    if to_copy:
        await copy_binary(session, "measurement", to_copy)
    return WrittenRows(write_results, corrections)


class _Suspects(NamedTuple):
    """Measures that are there already or come more than once, and what stands under their keys."""

    measures: Mask
    existing: ExistingRows


async def _suspects(session: Session, keys: Keys, *, all_suspect: bool) -> _Suspects:
    """First by range per device, in which most batches have no row; then, where that hits, by exact key."""
    repeated = np.ones(len(keys.ts), np.bool_) if all_suspect else repeated_in(keys)
    asked = np.flatnonzero(repeated | await _in_hit_ranges(session, keys))
    distinct, places = grouped(keys.device[asked], keys.ts[asked])
    existing = await _read_existing(session, distinct)
    suspect = np.zeros(len(distinct.ts), np.bool_)
    suspect[existing.places] = True
    suspect[places[repeated[asked]]] = True
    measures = np.zeros(len(keys.ts), np.bool_)
    measures[asked] = suspect[places]
    return _Suspects(measures, existing.renumbered(np.cumsum(suspect) - 1))


async def _in_hit_ranges(session: Session, keys: Keys) -> Mask:
    """Measures of devices that have any row in the range of times which the batch brings of them."""
    ranges = ranges_of(keys)
    if not ranges.device:
        return np.zeros(0, np.bool_)
    bounds = min(ranges.since), max(ranges.upto)
    found = await session.fetch(sql.devices_with_rows, ranges.device, ranges.since, ranges.upto, *bounds)
    return among(keys, [row["device_id"] for row in found])


async def _read_existing(session: Session, keys: Keys) -> ExistingRows:
    """By the transaction's snapshot, which the upsert then finds unchanged."""
    device, ts = keys.device.tolist(), keys.ts.tolist()
    if not ts:
        return parse_existing(COPY_HEADER + COPY_TRAILER)
    read = bytearray()

    async def take(piece: bytes) -> None:
        read.extend(piece)

    bounds = min(ts), max(ts)
    await session.copy_from_query(sql.existing_values, device, ts, *bounds, output=take, format="binary")
    return parse_existing(read)


async def _write_over(session: Session, rows: Sequence[bytes], statement: str) -> None:
    """Through the staging table; the statement says how the rows go on from there."""
    await session.execute(sql.make_staging)
    await copy_binary(session, "measurement_staging", rows)
    await session.execute(statement)


async def copy_binary(
    session: Session, table: str, rows: Sequence[bytes], columns: Sequence[str] = COPY_COLUMNS
) -> None:
    """Rows of binary COPY, without its header and trailer."""
    await session.copy_to_table(table, source=_stream(rows), columns=columns, format="binary")


async def _stream(rows: Sequence[bytes]) -> AsyncIterator[bytes]:
    yield COPY_HEADER
    for piece in rows:
        yield piece
    yield COPY_TRAILER
