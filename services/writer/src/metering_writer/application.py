"""The writer's use case: what was validated is stored, whatever the database does; only a proven fault is set aside."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from metering_common.contract.dead_letters import cut_error
from metering_common.kafka.dead_share import DeadShare
from metering_common.service.clock import Clock
from metering_writer.domain.accounts import WriteResult
from metering_writer.domain.entries import ValidatedEntry, dead
from metering_writer.domain.error_classification import backoff_seconds, could_be_the_entrys_own, is_same_fault


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

    entries: Sequence[ValidatedEntry]
    """Those stored now, in order."""
    write_results: Sequence[WriteResult]
    """Of each of them."""
    redelivered: int
    """Entries whose result was there already."""
    trimmed: int
    """Entries that another writer, or this one before it lost its connection, had stored already."""
    races: int = 0
    """Transactions before this one that lost a race against another writer."""


class Store(Protocol):
    """Writes entries in one transaction."""

    async def store(self, entries: Sequence[ValidatedEntry]) -> StoredBatch:
        """Rows, refusals, ledger and offsets; raises `StaleBatchError`, or whatever the database raises."""
        ...

    async def prove_healthy(self, entry: ValidatedEntry) -> None:
        """Writes and takes back a harmless row beside this entry: raises when the database refuses that too."""
        ...


class DeadLetters(Protocol):
    """Takes what no code can store."""

    async def send(self, records: Sequence[ValidatedEntry]) -> None:
        """The faults and the entries as they came; returns once all are acknowledged, waits while Kafka is away."""
        ...


class Notes(Protocol):
    """What operations see of it."""

    def stored(self, batch: StoredBatch, seconds: float) -> None: ...

    def database_failed(self, error: Exception) -> None: ...

    def died(self, entry: ValidatedEntry) -> None: ...


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
        self._deaths = DeadShare()

    async def write(self, entries: Sequence[ValidatedEntry]) -> None:
        """Returns when every entry is stored or proven dead.

        Raises `StaleBatchError` when partitions must be read again and `TooManyDeadError` when it is time to stop.
        The entries stand in the order of their partitions' offsets, and so does every part that is tried alone.
        """
        unreadable = [entry for entry in entries if entry.fault is not None]
        self._deaths.add(self._clock.monotonic(), len(entries), len(unreadable))
        if unreadable:
            await self._dead_letter(unreadable)
        await self._store_all(entries)

    async def _store_all(self, entries: Sequence[ValidatedEntry]) -> None:
        """Halves what may hold a fault, down to the entry; stored halves are no-ops when they come again."""
        failures = 0
        while (error := await self._attempt(entries)) is not None:
            if could_be_the_entrys_own(error):
                if len(entries) > 1:
                    await self._store_all(entries[: len(entries) // 2])
                    return await self._store_all(entries[len(entries) // 2 :])
                if await self._is_proven(entries[0], error):
                    return await self._store_all([await self._mark_dead(entries[0], error)])
            self._notes.database_failed(error)
            await self._pause(backoff_seconds(failures))
            failures += 1
        return None

    async def _attempt(self, entries: Sequence[ValidatedEntry]) -> Exception | None:
        started = self._clock.monotonic()
        try:
            batch = await self._store.store(entries)
        except StaleBatchError:
            raise
        except Exception as error:  # noqa: BLE001  whatever the database raises is waited out or proven
            return error
        self._notes.stored(batch, self._clock.monotonic() - started)
        return None

    async def _is_proven(self, entry: ValidatedEntry, error: Exception) -> bool:
        """Alone it fails twice the same way, and between the two a harmless row goes in: then it is the entry."""
        if entry.fault is not None:
            return False
        try:
            await self._store.prove_healthy(entry)
        except Exception:  # noqa: BLE001  the database refuses a harmless row: not the entry's fault, or not proven
            return False
        again = await self._attempt([entry])
        return again is not None and is_same_fault(error, again)

    async def _mark_dead(self, entry: ValidatedEntry, error: Exception) -> ValidatedEntry:
        dead_entry = dead(entry.envelope, entry.place, cut_error(f"{type(error).__name__}: {error}"))
        self._deaths.add(self._clock.monotonic(), 0, 1)
        await self._dead_letter([dead_entry])
        return dead_entry

    async def _dead_letter(self, entries: Sequence[ValidatedEntry]) -> None:
        await self._dead_letters.send(entries)
        for entry in entries:
            self._notes.died(entry)
