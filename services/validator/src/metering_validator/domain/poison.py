"""What is done about records that no release can read: they get headers, and too many of them stop the process."""

from collections import deque
from typing import NamedTuple
from uuid import UUID

from metering_common.contract.metadata import RecordHeaders, RecordPosition, RegistryVersion

SHARE = 0.01
LEAST = 100
SECONDS = 60.0

_UUID_VERSION_8 = 8


class _Tally(NamedTuple):
    at: float
    records: int
    dead: int


class DeadShare:
    """How many of the last minute's records are dead: a bad deployment must not empty a topic into the dead letters."""

    def __init__(self) -> None:
        self._tallies: deque[_Tally] = deque()

    def too_many(self, now: float, records: int, dead: int) -> bool:
        """Adds a batch, at `now` in monotonic seconds: over 1 % and at least 100 of the last minute's records dead?"""
        self._tallies.append(_Tally(now, records, dead))
        while self._tallies[0].at <= now - SECONDS:
            self._tallies.popleft()
        all_dead = sum(tally.dead for tally in self._tallies)
        return all_dead >= LEAST and all_dead > SHARE * sum(tally.records for tally in self._tallies)


def stand_in_headers(raw: RecordPosition, kafka_timestamp_ms: int) -> RecordHeaders:
    """For a record whose own headers cannot be read: the same every time; the UUID's version tells them apart."""
    return RecordHeaders(
        batch_id=_batch_id(raw),
        item=0,
        items=1,
        provider_id=0,
        gateway_id=None,
        device_id=0,
        source="http",
        received_at_ms=max(kafka_timestamp_ms, 0),
        rev=0,
        registry=RegistryVersion("", 0),
    )


def _batch_id(raw: RecordPosition) -> UUID:
    """Partition and offset within a UUIDv8, whose content is the maker's own affair (RFC 9562)."""
    number = (raw.partition & 0xFFFFFFFF) << 96 | raw.offset & 0x3FFFFFFFFFFFFFFF
    number &= ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=number | _UUID_VERSION_8 << 76 | 0x2 << 62)
