"""Fifth stop of a measure in the writer: rows go into `measurement`, the new ones by COPY, the rest by upsert."""

from collections.abc import AsyncIterator, Sequence

import numpy as np

from metering_writer.adapters.session import Session
from metering_writer.domain.accounts import Fate, written_by
from metering_writer.domain.columns import COPY_COLUMNS, STAGED_COLUMNS, Block, Mask, copy_rows, staged_rows
from metering_writer.domain.keys import Keys, Ranges, among, keys_of, ranges_of, repeated_in, split
from metering_writer.queries import sql


async def write_rows(session: Session, blocks: Sequence[Block], records: int, *, all_staged: bool) -> list[Fate]:
    """Writes all rows within the caller's transaction (repeatable read) and gives each record's fate.

    Raises asyncpg.UniqueViolationError when another transaction wrote one of the keys meanwhile: the caller then
    comes again with `all_staged`, which does without COPY into the table itself.
    """
    keys = keys_of(blocks)
    repeated = repeated_in(keys)
    slow = np.ones(len(keys.ts), np.bool_) if all_staged else repeated | await _present(session, keys)
    new, perhaps_present = split(blocks, slow)
    fates = written_by(new, records)
    if perhaps_present:
        staged = await _upsert(session, perhaps_present, repeated=bool(repeated.any()))
        fates = [fate.plus(staged.get(index, Fate())) for index, fate in enumerate(fates)]
    if new:
        await session.copy_to_table(
            "measurement", source=_pieces(copy_rows(new)), columns=COPY_COLUMNS, format="binary"
        )
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


async def _upsert(session: Session, blocks: Sequence[Block], *, repeated: bool) -> dict[int, Fate]:
    """Counts what the upsert will find, then upserts; the transaction's snapshot keeps the two in agreement."""
    await session.execute(sql.make_staging)
    await session.copy_to_table(
        "measurement_staging", source=_pieces(staged_rows(blocks)), columns=STAGED_COLUMNS, format="binary"
    )
    counted = await session.fetch(sql.count_staged_repeated if repeated else sql.count_staged)
    await session.execute(sql.upsert_staged_repeated if repeated else sql.upsert_staged)
    return {row["record"]: Fate(row["written"], row["corrected"], row["present"], row["superseded"]) for row in counted}


async def _pieces(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
