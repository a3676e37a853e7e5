"""The one transaction of a batch: offsets locked and compared, rows, refusals, ledger, offsets moved on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

import asyncpg

from metering_common.contract.messages import Counts, Rows, Status, Validated
from metering_common.postgres.pool import TimedPool
from metering_writer.adapters import ledger, offset_rows
from metering_writer.adapters.correction_rows import write_corrections
from metering_writer.adapters.measurement_rows import write_rows
from metering_writer.adapters.offset_rows import OffsetLocks, Owns
from metering_writer.adapters.register_notes import append_notes
from metering_writer.adapters.session import Session
from metering_writer.application import OffsetsBehindError, StoredBatch
from metering_writer.domain import offsets
from metering_writer.domain.columns import blocks_of
from metering_writer.domain.entries import ValidatedEntry, first_of_each
from metering_writer.queries import sql

MOST_RACES = 5
"""Lost races in a row after which the caller's retry is the better one."""
_RACES = (asyncpg.UniqueViolationError, asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class _Attempt(NamedTuple):
    """How a transaction goes about it; the careful ways cost more, and are taken after a lost race."""

    via_staging: bool = False
    """No COPY into `measurement` itself."""
    ask_ledger: bool = False
    """Look for entries that are stored already, which is known to be so after a redelivery alone."""
    races: int = 0

    def after(self, race: asyncpg.PostgresError) -> "_Attempt":
        if isinstance(race, asyncpg.UniqueViolationError) and "ingest_batch" in (race.constraint_name or ""):
            return self._replace(ask_ledger=True, races=self.races + 1)
        return self._replace(via_staging=True, races=self.races + 1)


class PostgresStore:
    """Stores entries; several writers may do so at once, each row of `consumer_offset` lets in one of them."""

    def __init__(
        self,
        pool: TimedPool,
        lock_wait_seconds: float,
        owns: Owns,
        *,
        hypertables: bool,
        transaction_seconds: float = 300,
    ) -> None:
        """A transaction that is not over after `transaction_seconds` is given up, whatever it waits for."""
        self._pool, self._hypertables = pool, hypertables
        self._transaction_seconds = transaction_seconds
        self._locks = OffsetLocks(pool, lock_wait_seconds, owns)

    async def store(self, entries: Sequence[ValidatedEntry]) -> StoredBatch:
        """As `application.Store`. A race lost against another writer, or against ourselves before, is run again."""
        attempt = _Attempt()
        while True:
            try:
                return await self._store_once(entries, attempt)
            except _RACES as race:
                attempt = attempt.after(race)
                if attempt.races > MOST_RACES:
                    raise

    async def prove_healthy(self, entry: ValidatedEntry) -> None:
        """A ledger row and one good value at the entry's own place and time, taken back."""
        timestamp = next(
            (at for rows in entry.validated.rows for at in rows.timestamps), entry.metadata.received_at_ms // 1000
        )
        harmless = entry._replace(
            validated=Validated(
                status=Status.VALIDATED,
                counts=Counts(measures=1, values=1, accepted=1),
                rows=[Rows(sensors=(0,), timestamps=[timestamp], values=[0.0])],
            )
        )
        async with self._session() as session:
            taken_back = session.transaction(isolation="repeatable_read")
            await taken_back.start()
            try:
                await self._write(session, [harmless], _Attempt(ask_ledger=True))
            finally:
                await taken_back.rollback()

    async def _store_once(self, entries: Sequence[ValidatedEntry], attempt: _Attempt) -> StoredBatch:
        async with self._session() as session, session.transaction(isolation="repeatable_read"):
            stored = await self._locks.lock(session, {entry.partition for entry in entries})
            if behind := offsets.behind(entries, stored):
                raise OffsetsBehindError(behind)
            fresh = offsets.not_yet_stored(entries, stored)
            if not fresh:
                return StoredBatch([], [], 0, len(entries), attempt.races)
            batch = await self._write(session, fresh, attempt)
            await offset_rows.advance(session, offsets.moved_by(fresh))
        return batch._replace(trimmed=len(entries) - len(fresh))

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Session]:
        """A COPY whose connection is lost while it waits to send waits for ever (asyncpg 0.32): its end is watched."""
        loop = asyncio.get_running_loop()
        async with self._pool.acquire() as session, asyncio.timeout(self._transaction_seconds) as retry:

            def give_up(_session: object) -> None:
                with suppress(RuntimeError):  # over already
                    retry.reschedule(loop.time())

            session.add_termination_listener(give_up)
            try:
                yield session
            finally:
                session.remove_termination_listener(give_up)

    async def _write(self, session: Session, fresh: Sequence[ValidatedEntry], attempt: _Attempt) -> StoredBatch:
        """All that a batch leaves behind but its offsets, table by table."""
        await session.execute(sql.plan_by_keys)
        entries = first_of_each(fresh)
        if attempt.ask_ledger:
            entries = await ledger.without_known(session, entries)
        blocks = blocks_of(entries)
        written = await write_rows(
            session, blocks, len(entries), hypertables=self._hypertables, via_staging=attempt.via_staging
        )
        await write_corrections(session, written.corrections, entries)
        await append_notes(session, blocks, entries)
        await ledger.write_ledger(session, entries, written.write_results)
        await ledger.close_replayed(session, entries)
        return StoredBatch(entries, written.write_results, len(fresh) - len(entries), 0, attempt.races)
