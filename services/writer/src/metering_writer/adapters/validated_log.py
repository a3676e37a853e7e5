"""First stop of a measure in the writer: validated records are read from the offset that the database has, no other."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from metering_common.contract.topics import VALIDATED
from metering_common.postgres.pool import TimedPool
from metering_common.service.clock import Clock
from metering_writer.adapters import offset_rows
from metering_writer.adapters.decode import decode, identity
from metering_writer.domain import offsets
from metering_writer.domain.offsets import Log, Stop, StopReason, Stored
from metering_writer.domain.records import Record
from metering_writer.metrics import WriterMetrics
from metering_writer.queries import sql

RECORDS_PER_POLL = 10  # a batch passes its limits by these at most: a record may have 4 MiB, or 26,000 values
POLL_SECONDS = 0.5
STOPPED_CHECK_SECONDS = 2.0
COMMIT_SECONDS = 5.0

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class BatchLimits(NamedTuple):
    """A batch is full when one of these is reached."""

    rows: int
    records: int
    record_bytes: int
    seconds: float


@dataclass(slots=True)
class _Place:
    """Where a partition is read on."""

    expected: int
    compare_with: Stored | None
    """Set while the record before the stored offset is still to be compared."""
    gap_at: int | None = None
    """An offset that the log did not have when it was looked for once before."""


class ValidatedLog(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Reads batches. Partitions are doubtful when assigned, and read only after the database has been asked."""

    def __init__(
        self, consumer: AIOKafkaConsumer, pool: TimedPool, limits: BatchLimits, metrics: WriterMetrics, clock: Clock
    ) -> None:
        self._consumer, self._pool, self._limits = consumer, pool, limits
        self._metrics, self._clock = metrics, clock
        self._owned: frozenset[int] = frozenset()
        self._doubtful: set[int] = set()
        self._places: dict[int, _Place] = {}
        self._stopped: dict[int, tuple[Stop, Stored | None]] = {}
        self._look_at_stopped_at = 0.0
        self._oldest_ms: int | None = None
        """When Kafka got the oldest record in flight."""
        metrics.lag_seconds.set_function(self._lag_seconds)

    def subscribe(self) -> None:
        self._consumer.subscribe([VALIDATED], listener=self)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Nothing is waited for: what is in flight is fenced by the database."""
        self._owned -= {one.partition for one in revoked}

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._owned = frozenset(one.partition for one in assigned)
        self._consumer.pause(*assigned)
        self._places.clear()
        self._stopped.clear()
        self._doubtful = set(self._owned)
        self._metrics.partitions.set(len(assigned))
        self._metrics.assignments.inc()
        self._show_stopped()
        log.info("partitions.assigned", partitions=sorted(self._doubtful))

    def owns(self, partitions: Collection[int]) -> bool:
        """Whether the group has given all of these to this writer, as far as it knows."""
        return self._owned.issuperset(partitions)

    def doubt(self) -> None:
        """Ask the database again about all partitions."""
        for partition in self._places.keys() - self._doubtful:
            self._doubt_one(partition, None)

    async def batch(self, is_leaving: Callable[[], bool]) -> list[Record]:
        """The next records, in the order of their partitions' offsets; empty when nothing came for a while.

        Raises what the database raises, and `UnknownSchemaVersionError`.
        """
        await self._look_at_doubtful()
        records: list[Record] = []
        rows = size = 0
        until = self._clock.monotonic() + POLL_SECONDS
        while (
            not is_leaving()
            and (left := until - self._clock.monotonic()) > 0
            and not self._is_full(records, rows, size)
        ):
            consumed = await self._consumer.getmany(timeout_ms=int(left * 1_000) + 1, max_records=RECORDS_PER_POLL)
            fresh = [record for part in consumed.values() for record in self._accept(part)]
            if self._doubtful:  # a rebalance, or a gap: every partition is read again from the database's offset
                self.doubt()
                return []
            if fresh and not records:
                until = self._clock.monotonic() + self._limits.seconds
            records += fresh
            rows += sum(record.validated.counts.accepted for record in fresh)
            size += sum(len(record.source.value or b"") for record in fresh)
        self._oldest_ms = min((record.source.timestamp_ms for record in records), default=None)
        return records

    async def commit(self, records: Sequence[Record]) -> None:
        """To Kafka too, for those who watch the group's lag; nothing is lost when it fails."""
        last = {TopicPartition(VALIDATED, record.partition): record.offset + 1 for record in records}
        try:
            async with asyncio.timeout(COMMIT_SECONDS):
                await self._consumer.commit(last)
        except (KafkaError, TimeoutError) as error:
            log.warning("offsets.not_committed", error=repr(error))

    def stopped_reason(self) -> str | None:
        """A check for the admin server."""
        return "; ".join(f"partition {number}: {stop.detail}" for number, (stop, _) in self._stopped.items()) or None

    def _is_full(self, records: Sequence[Record], rows: int, size: int) -> bool:
        limits = self._limits
        return rows >= limits.rows or len(records) >= limits.records or size >= limits.record_bytes

    def _lag_seconds(self) -> float:
        """Grows while the batch in flight cannot be stored."""
        return 0.0 if self._oldest_ms is None else max(0.0, (self._clock.now_ms() - self._oldest_ms) / 1_000)

    def _accept(self, consumed: Sequence[ConsumerRecord]) -> list[Record]:
        """Those that follow on what is stored. Others make the partition doubtful or stop it."""
        accepted: list[Record] = []
        for one in consumed:
            place = self._places.get(one.partition)
            if place is None:
                continue
            if one.offset != place.expected:
                self._meet_gap(one, place)
                return accepted
            if place.compare_with is not None:
                if stop := offsets.stop_by_record(place.compare_with, identity(one)):
                    self._stop(one.partition, stop, place.compare_with)
                    return accepted
                place.compare_with = None
            else:
                accepted.append(decode(one))
            place.expected = one.offset + 1
        return accepted

    def _meet_gap(self, found: ConsumerRecord, place: _Place) -> None:
        """Looked at again once, since the log may have been cut; a hole that stays is an operator's business."""
        log.warning("offsets.gap", partition=found.partition, expected=place.expected, found=found.offset)
        if place.gap_at != place.expected:
            return self._doubt_one(found.partition, place.expected)
        return self._stop(found.partition, offsets.stop_by_gap(place.expected, found.offset), None)

    def _doubt_one(self, partition: int, gap_at: int | None) -> None:
        self._places[partition].gap_at = gap_at
        self._doubtful.add(partition)
        self._pause(partition)

    async def _look_at_doubtful(self) -> None:
        if self._stopped and self._clock.monotonic() >= self._look_at_stopped_at:
            await self._look_at_stopped()
        if not self._doubtful:
            return
        asked = set(self._doubtful)
        logs = await self._ask_kafka(asked)
        stored = await self._ask_database(logs)
        for partition in asked & self._doubtful:
            self._settle(partition, stored[partition], logs[partition])

    def _settle(self, partition: int, stored: Stored, kept: Log) -> None:
        """The partition is read on, from the record before the stored offset where that one can be compared."""
        self._doubtful.discard(partition)
        gap_at = place.gap_at if (place := self._places.get(partition)) else None
        if stop := offsets.stop_by_bounds(stored, kept):
            return self._stop(partition, stop, stored)
        comparing = offsets.can_compare(stored, kept)
        start = stored.next_offset - comparing
        self._places[partition] = _Place(start, stored if comparing else None, gap_at)
        try:
            self._consumer.seek(TopicPartition(VALIDATED, partition), start)
            self._consumer.resume(TopicPartition(VALIDATED, partition))
        except IllegalStateError:  # taken away meanwhile; a new assignment comes
            self._places.pop(partition, None)
        return None

    async def _ask_kafka(self, partitions: Collection[int]) -> dict[int, Log]:
        asked = [TopicPartition(VALIDATED, partition) for partition in sorted(partitions)]
        starts = await self._consumer.beginning_offsets(asked)
        ends = await self._consumer.end_offsets(asked)
        return {one.partition: Log(starts[one], ends[one]) for one in asked}

    async def _ask_database(self, logs: dict[int, Log]) -> dict[int, Stored]:
        """What is stored; a partition seen for the first time begins where the log does."""
        async with self._pool.acquire() as session:
            stored = await offset_rows.read(session, logs)
            for partition in logs.keys() - stored.keys():
                await session.execute(sql.add_offset, VALIDATED, partition, logs[partition].start)
            return stored if stored.keys() == logs.keys() else await offset_rows.read(session, logs)

    def _stop(self, partition: int, stop: Stop, stored: Stored | None) -> None:
        self._pause(partition)
        self._places.pop(partition, None)
        self._stopped[partition] = stop, stored
        self._look_at_stopped_at = self._clock.monotonic() + STOPPED_CHECK_SECONDS
        self._metrics.lost_records.inc(stop.lost)
        self._show_stopped()
        log.critical("partition.stopped", partition=partition, reason=stop.reason, detail=stop.detail, lost=stop.lost)

    async def _look_at_stopped(self) -> None:
        """An operator has said where to go on when the row is another one than at the first look."""
        self._look_at_stopped_at = self._clock.monotonic() + STOPPED_CHECK_SECONDS
        async with self._pool.acquire() as session:
            stored = await offset_rows.read(session, self._stopped)
        for partition, (stop, before) in list(self._stopped.items()):
            if before is None:
                self._stopped[partition] = stop, stored.get(partition)
            elif stored.get(partition) != before:
                del self._stopped[partition]
                self._doubtful.add(partition)
                log.info("partition.continued", partition=partition)
        self._show_stopped()

    def _show_stopped(self) -> None:
        for reason in StopReason:
            alike = sum(stop.reason is reason for stop, _ in self._stopped.values())
            self._metrics.stopped_partitions.labels(reason.value).set(alike)

    def _pause(self, partition: int) -> None:
        try:
            self._consumer.pause(TopicPartition(VALIDATED, partition))
        except IllegalStateError:  # taken away meanwhile
            return
