"""Fifth stop of a measure in the writer: rows go into `measurement`, the new ones by COPY, the rest by upsert."""

from collections.abc import AsyncIterator, Sequence

import numpy as np

from metering_writer.adapters.session import Session
from metering_writer.domain.accounts import Fate, written_by
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
from metering_writer.domain.keys import Keys, Ranges, among, keys_of, ranges_of, repeated_in, split
from metering_writer.domain.versions import Candidates, Decided, decide, parse_standing
from metering_writer.queries import sql


async def write_rows(session: Session, blocks: Sequence[Block], records: int, *, all_staged: bool) -> list[Fate]:
    """Writes all rows within the caller's transaction (repeatable read) and gives each record's fate.

    Raises asyncpg.UniqueViolationError when another transaction wrote one of the keys meanwhile: the caller then
    comes again with `all_staged`, which does without COPY into the table itself.
    """
    keys = keys_of(blocks)
    slow = np.ones(len(keys.ts), np.bool_) if all_staged else repeated_in(keys) | await _present(session, keys)
    new, perhaps_present = split(blocks, slow)
    fates = written_by(new, records)
    to_copy = copy_blocks(new)
    if perhaps_present:
        decided = await _decide(session, perhaps_present, records)
        fates = [fate.plus(other) for fate, other in zip(fates, decided.fates, strict=True)]
        staged = [copy_values(decided.better)] if len(decided.better.ts) else []
        (staged if all_staged else to_copy).append(copy_values(decided.new))
        if staged:
            await _upsert(session, staged)
    if to_copy:
        await _copy(session, "measurement", to_copy)
    return fates


async def _present(session: Session, keys: Keys) -> Mask:
    """Measures of which any row is there: first by range per device, then, where that hits, by exact time."""
    present = np.zeros(len(keys.ts), np.bool_)
    ranges = ranges_of(keys)
    hit = await _devices_with_rows(session, ranges) if ranges.device else []
    if not hit:
        return present
    places = np.flatnonzero(among(keys, hit))
    device, ts = keys.device[places].tolist(), keys.ts[places].tolist()
    found = await session.fetch(sql.measures_with_rows, device, ts, min(ts), max(ts))
    present[places[[row["place"] - 1 for row in found]]] = True
    return present


async def _devices_with_rows(session: Session, ranges: Ranges) -> list[int]:
    bounds = min(ranges.since), max(ranges.upto)
    found = await session.fetch(sql.devices_with_rows, ranges.device, ranges.since, ranges.upto, *bounds)
    return [row["device_id"] for row in found]


async def _decide(session: Session, blocks: Sequence[Block], records: int) -> Decided:
    """By what stands in the transaction's snapshot, which the upsert then finds unchanged."""
    candidates = Candidates.of(values_of(blocks))
    device, ts = candidates.keys.device.tolist(), candidates.keys.ts.tolist()
    read = bytearray()

    async def take(piece: bytes) -> None:
        read.extend(piece)

    bounds = min(ts), max(ts)
    await session.copy_from_query(sql.standing_values, device, ts, *bounds, output=take, format="binary")
    return decide(candidates, parse_standing(bytes(read)), records)


async def _upsert(session: Session, rows: Sequence[bytes]) -> None:
    await session.execute(sql.make_staging)
    await _copy(session, "measurement_staging", rows)
    await session.execute(sql.upsert_staged)


async def _copy(session: Session, table: str, rows: Sequence[bytes]) -> None:
    await session.copy_to_table(table, source=_stream(rows), columns=COPY_COLUMNS, format="binary")


async def _stream(rows: Sequence[bytes]) -> AsyncIterator[bytes]:
    yield COPY_HEADER
    for piece in rows:
        yield piece
    yield COPY_TRAILER
