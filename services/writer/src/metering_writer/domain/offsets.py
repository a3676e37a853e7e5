"""What is decided about a partition's place: go on, trim, seek back, or stop until an operator has said so."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from metering_writer.domain.entries import ValidatedEntry


class Stored(NamedTuple):
    """A row of `consumer_offset`: what comes next, and the id of the last envelope. No id: nothing to compare."""

    next_offset: int
    envelope_id: UUID | None


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
    return stored.envelope_id is not None and log.start < stored.next_offset <= log.end


def stop_by_record(stored: Stored, found: UUID) -> Stop | None:
    """Another record before the stored offset: the topic was recreated, with as many records as before or more."""
    if found == stored.envelope_id:
        return None
    return Stop(
        StopReason.OTHER_RECORD,
        0,
        f"the envelope before {stored.next_offset} is {found}, stored was {stored.envelope_id}",
    )


def stop_by_gap(expected: int, found: int) -> Stop:
    """The log has the offset by its bounds, and yet gives another one."""
    return Stop(StopReason.GAP, max(0, found - expected), f"the record {expected} is missing, {found} came instead")


def behind(entries: Sequence[ValidatedEntry], stored: Mapping[int, int]) -> set[int]:
    """Partitions whose stored offset is lower than the first entry in flight, or gone: to be looked at again."""
    firsts: dict[int, int] = {}
    for entry in entries:
        firsts.setdefault(entry.partition, entry.offset)
    return {partition for partition, first in firsts.items() if stored.get(partition, -1) < first}


def not_yet_stored(entries: Sequence[ValidatedEntry], stored: Mapping[int, int]) -> list[ValidatedEntry]:
    """Without what another writer has stored in the meantime."""
    return [entry for entry in entries if entry.offset >= stored[entry.partition]]


def moved_by(entries: Sequence[ValidatedEntry]) -> dict[int, Stored]:
    """Where each partition stands once these are stored: only an envelope's last entry moves it."""
    return {entry.partition: Stored(entry.offset + 1, entry.envelope.id) for entry in entries if entry.is_last}
