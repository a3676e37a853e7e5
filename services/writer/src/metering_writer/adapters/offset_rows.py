"""The partitions' rows in the database: locked first in every transaction, so that only one writer writes a record."""

import asyncio
from collections.abc import Callable, Collection, Mapping

import structlog

from metering_common.contract.topics import VALIDATED
from metering_common.postgres.pool import TimedPool
from metering_writer.adapters.session import Session
from metering_writer.application import PartitionsTakenError
from metering_writer.domain.offsets import Stored
from metering_writer.domain.records import Record
from metering_writer.queries import sql

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


Owns = Callable[[Collection[int]], bool]
"""Whether partitions are this writer's, as far as it knows."""


class OffsetLocks:
    """Locks rows; a session that holds one for `wait_seconds` is ended, since its process may sleep for ever.

    Only by the owner: two writers that both did so would end each other's sessions for as long as the database is slow.
    """

    def __init__(self, pool: TimedPool, wait_seconds: float, owns: Owns) -> None:
        self._pool, self._wait_seconds, self._owns = pool, wait_seconds, owns

    async def lock(self, session: Session, partitions: Collection[int]) -> dict[int, int]:
        """The next offset per partition, locked until the transaction ends; partitions without a row are left out.

        Raises `PartitionsTakenError` when another writer holds them and this one is no longer their owner.
        """
        asked = asyncio.ensure_future(session.fetch(sql.lock_offsets, VALIDATED, sorted(partitions)))
        try:
            while not (await asyncio.wait({asked}, timeout=self._wait_seconds))[0]:
                if not self._owns(partitions):
                    raise PartitionsTakenError(partitions)
                await self._end_blocking_sessions(session.get_server_pid())
        finally:
            asked.cancel()
            await asyncio.wait({asked})
        return {row["partition"]: row["next_offset"] for row in asked.result()}

    async def _end_blocking_sessions(self, waiting_pid: int) -> None:
        async with self._pool.acquire() as session:
            ended = await session.fetch(sql.blocking_sessions, waiting_pid)
        for row in ended:
            log.warning("offsets.blocking_session_ended", pid=row["pid"], ended=row["terminated"])


async def read(session: Session, partitions: Collection[int]) -> dict[int, Stored]:
    """What is stored per partition, without a lock."""
    rows = await session.fetch(sql.read_offsets, VALIDATED, sorted(partitions))
    return {row["partition"]: Stored(row["next_offset"], row["batch_id"], row["item"]) for row in rows}


async def advance(session: Session, last: Mapping[int, Record]) -> None:
    """Sets each partition's row behind its last record."""
    await session.execute(
        sql.advance_offsets,
        VALIDATED,
        list(last),
        [record.offset + 1 for record in last.values()],
        [record.headers.batch_id for record in last.values()],
        [record.headers.item for record in last.values()],
    )
