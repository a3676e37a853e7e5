"""What is decided about a partition's place: go on, trim, seek back, or stop until an operator has said so."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from metering_writer.domain.records import Record


class Stored(NamedTuple):
    """A row of `consumer_offset`: what comes next, and which record was the last. No batch id: nothing to compare."""

    next_offset: int
    batch_id: UUID | None
    item: int | None

    @property
    def identity(self) -> tuple[UUID, int] | None:
        return None if self.batch_id is None or self.item is None else (self.batch_id, self.item)


class Log(NamedTuple):
    """What Kafka has of a partition: offsets from `start` up to, not including, `end`."""

    start: int
    end: int


class StopReason(StrEnum):
    """Why a partition waits for an operator; the label of the alarm's metric."""

    LOG_ENDS_BEFORE = "log_ends_before"
    LOG_STARTS_AFTER = "log_starts_after"
    OTHER_RECORD = "other_record"
    GAP = "gap"


class Stop(NamedTuple):
    """The partition waits until an operator says where to go on."""

    reason: StopReason
    lost: int
    """Records that are gone for certain."""
    detail: str


def stop_by_bounds(stored: Stored, log: Log) -> Stop | None:
    """A log that ends before what is stored was recreated or cut off; one that starts after it has lost records."""
    if log.end < stored.next_offset:
        return Stop(
            StopReason.LOG_ENDS_BEFORE,
            0,
            f"stored up to {stored.next_offset}, but the log ends at {log.end}: recreated, or cut off at its end",
        )
    if log.start > stored.next_offset:
        lost = log.start - stored.next_offset
        return Stop(
            StopReason.LOG_STARTS_AFTER,
            lost,
            f"stored up to {stored.next_offset}, but the log starts at {log.start}: {lost} records are lost",
        )
    return None


def can_compare(stored: Stored, log: Log) -> bool:
    """Whether the record before the stored offset is still there to be compared."""
    return stored.identity is not None and log.start < stored.next_offset <= log.end


def stop_by_record(stored: Stored, found: tuple[UUID, int] | None) -> Stop | None:
    """Another record before the stored offset: the topic was recreated, with as many records as before or more."""
    if found == stored.identity:
        return None
    return Stop(
        StopReason.OTHER_RECORD,
        0,
        f"the record before {stored.next_offset} is {_name(found)}, stored was {_name(stored.identity)}",
    )


def stop_by_gap(expected: int, found: int) -> Stop:
    """The log has the offset by its bounds, and yet gives another one."""
    return Stop(StopReason.GAP, max(0, found - expected), f"the record {expected} is missing, {found} came instead")


def behind(records: Sequence[Record], stored: Mapping[int, int]) -> set[int]:
    """Partitions whose stored offset is lower than the first record in flight, or gone: to be looked at again."""
    firsts: dict[int, int] = {}
    for record in records:
        firsts.setdefault(record.partition, record.offset)
    return {partition for partition, first in firsts.items() if stored.get(partition, -1) < first}


def not_yet_stored(records: Sequence[Record], stored: Mapping[int, int]) -> list[Record]:
    """Without what another writer has stored in the meantime."""
    return [record for record in records if record.offset >= stored[record.partition]]


def _name(identity: tuple[UUID, int] | None) -> str:
    return "unreadable" if identity is None else f"batch {identity[0]} item {identity[1]}"
