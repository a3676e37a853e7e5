"""The one transaction of a batch: offsets locked and compared, rows, refusals, ledger, offsets moved on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

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
from metering_writer.domain.records import Record, first_of_each
from metering_writer.queries import sql

MOST_RACES = 5
"""Lost races in a row after which the caller's retry is the better one."""
_RACES = (asyncpg.UniqueViolationError, asyncpg.SerializationError, asyncpg.DeadlockDetectedError)


class PostgresStore:
    """Stores records; several writers may do so at once, each row of `consumer_offset` lets in one of them."""

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

    async def store(self, records: Sequence[Record]) -> StoredBatch:
        """As `application.Store`. A lost race against another writer is run again, without COPY into the table."""
        for _ in range(MOST_RACES):
            try:
                return await self._store_once(records, via_staging=False)
            except asyncpg.UniqueViolationError:
                return await self._store_once(records, via_staging=True)
            except _RACES:
                continue
        return await self._store_once(records, via_staging=True)

    async def prove_healthy(self, record: Record) -> None:
        """A ledger row and one good value at the record's own place and time, taken back."""
        timestamp = next(
            (at for rows in record.validated.rows for at in rows.timestamps), record.headers.received_at_ms // 1000
        )
        harmless = record._replace(
            validated=Validated(
                raw=record.validated.raw,
                status=Status.VALIDATED,
                counts=Counts(measures=1, values=1, accepted=1),
                rows=[Rows(sensors=(0,), timestamps=[timestamp], values=[0.0])],
            )
        )
        async with self._session() as session:
            taken_back = session.transaction(isolation="repeatable_read")
            await taken_back.start()
            try:
                await self._write(session, [harmless], via_staging=False)
            finally:
                await taken_back.rollback()

    async def _store_once(self, records: Sequence[Record], *, via_staging: bool) -> StoredBatch:
        async with self._session() as session, session.transaction(isolation="repeatable_read"):
            stored = await self._locks.lock(session, {record.partition for record in records})
            if behind := offsets.behind(records, stored):
                raise OffsetsBehindError(behind)
            fresh = offsets.not_yet_stored(records, stored)
            if not fresh:
                return StoredBatch([], [], 0, len(records))
            batch = await self._write(session, fresh, via_staging=via_staging)
            await offset_rows.advance(session, {record.partition: record for record in fresh})
        return batch._replace(trimmed=len(records) - len(fresh))

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

    async def _write(self, session: Session, fresh: Sequence[Record], *, via_staging: bool) -> StoredBatch:
        await session.execute(sql.plan_by_keys)
        records = await ledger.without_known(session, first_of_each(fresh))
        blocks = blocks_of(records)
        written = await write_rows(
            session, blocks, len(records), hypertables=self._hypertables, via_staging=via_staging
        )
        await write_corrections(session, written.corrections, records)
        await append_notes(session, blocks, records)
        await ledger.write_ledger(session, records, written.write_results)
        await ledger.close_replayed(session, records)
        return StoredBatch(records, written.write_results, len(fresh) - len(records), 0)
