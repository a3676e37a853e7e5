"""The writer's use case: what was validated is stored, whatever the database does; only a proven fault is set aside."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from metering_common.service.clock import Clock
from metering_writer.domain.accounts import WriteResult
from metering_writer.domain.error_classification import (
    DeathRate,
    backoff_seconds,
    could_be_the_records_own,
    is_same_fault,
)
from metering_writer.domain.records import Record, dead


class StaleBatchError(Exception):
    """The records in flight are not what is to be stored next: their partitions are looked at again."""

    def __init__(self, partitions: Collection[int]) -> None:
        super().__init__(f"{type(self).__doc__} Partitions {sorted(partitions)}")
        self.partitions = set(partitions)


class OffsetsBehindError(StaleBatchError):
    """The stored offsets are behind the records in flight, or gone."""


class PartitionsTakenError(StaleBatchError):
    """Another writer stores these partitions, and the group has given them to it."""


class StoredBatch(NamedTuple):
    """What one transaction did."""

    records: Sequence[Record]
    """Those stored now, in order."""
    write_results: Sequence[WriteResult]
    """Of each of them."""
    redelivered: int
    """Records whose result was there already."""
    trimmed: int
    """Records that another writer, or this one before it lost its connection, had stored already."""


class Store(Protocol):
    """Writes records in one transaction."""

    async def store(self, records: Sequence[Record]) -> StoredBatch:
        """Rows, refusals, ledger and offsets; raises `StaleBatchError`, or whatever the database raises."""
        ...

    async def prove_healthy(self, record: Record) -> None:
        """Writes and takes back a harmless row beside this record: raises when the database refuses that too."""
        ...


class DeadLetters(Protocol):
    """Takes what no code can store."""

    async def send(self, records: Sequence[Record]) -> None:
        """The faults and the records as they came; returns once all are acknowledged, waits while Kafka is away."""
        ...


class Notes(Protocol):
    """What operations see of it."""

    def stored(self, batch: StoredBatch, seconds: float) -> None: ...

    def database_failed(self, error: Exception) -> None: ...

    def died(self, record: Record) -> None: ...


class Writing:
    """Stores batches, one after another, with the same retry for all of them."""

    def __init__(
        self,
        store: Store,
        dead_letters: DeadLetters,
        notes: Notes,
        clock: Clock,
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store, self._dead_letters, self._notes = store, dead_letters, notes
        self._clock, self._pause = clock, pause
        self._deaths = DeathRate()

    async def write(self, records: Sequence[Record]) -> None:
        """Returns when every record is stored or proven dead.

        Raises `StaleBatchError` when partitions must be read again and `TooManyDeadError` when it is time to stop.
        The records stand in the order of their partitions' offsets, and so does every part that is tried alone.
        """
        unreadable = [record for record in records if record.fault is not None]
        self._deaths.saw(self._clock.monotonic(), len(records), len(unreadable))
        if unreadable:
            await self._dead_letter(unreadable)
        await self._store_all(records)

    async def _store_all(self, records: Sequence[Record]) -> None:
        failures = 0
        while (error := await self._attempt(records)) is not None:
            if could_be_the_records_own(error):
                if len(records) > 1:
                    await self._store_all(records[: len(records) // 2])
                    return await self._store_all(records[len(records) // 2 :])
                if await self._is_proven(records[0], error):
                    return await self._store_all([await self._mark_dead(records[0], error)])
            self._notes.database_failed(error)
            await self._pause(backoff_seconds(failures))
            failures += 1
        return None

    async def _attempt(self, records: Sequence[Record]) -> Exception | None:
        started = self._clock.monotonic()
        try:
            batch = await self._store.store(records)
        except StaleBatchError:
            raise
        except Exception as error:  # noqa: BLE001  whatever the database raises is waited out or proven
            return error
        self._notes.stored(batch, self._clock.monotonic() - started)
        return None

    async def _is_proven(self, record: Record, error: Exception) -> bool:
        """Alone it fails twice the same way, and between the two a harmless row goes in: then it is the record."""
        if record.fault is not None:
            return False
        try:
            await self._store.prove_healthy(record)
        except Exception:  # noqa: BLE001  the database refuses a harmless row: not the record's fault, or not proven
            return False
        again = await self._attempt([record])
        return again is not None and is_same_fault(error, again)

    async def _mark_dead(self, record: Record, error: Exception) -> Record:
        dead_record = dead(record.source, record.headers, f"{type(error).__name__}: {error}", record.validated.raw)
        self._deaths.saw(self._clock.monotonic(), 0, 1)
        await self._dead_letter([dead_record])
        return dead_record

    async def _dead_letter(self, records: Sequence[Record]) -> None:
        await self._dead_letters.send(records)
        for record in records:
            self._notes.died(record)
