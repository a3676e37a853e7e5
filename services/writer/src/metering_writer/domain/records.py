"""Third stop of a measure in the writer: a validated record as it came from Kafka, checked to fit the tables' types."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from metering_common.contract.messages import Counts, Rows, Status, Validated
from metering_common.contract.metadata import KafkaHeaders, RecordHeaders, RecordPosition, RegistryVersion

INT2_MAX = 2**15 - 1
INT4_MAX = 2**31 - 1
INT8_MAX = 2**63 - 1
EARLIEST_S = -62_135_596_800  # 0001-01-01, what both PostgreSQL and Python's datetime can say
LATEST_S = 253_402_300_799  # 9999-12-31


class UnstorableRecordError(Exception):
    """The record itself cannot be brought into the tables' types: it goes to the dead letters."""


class Source(NamedTuple):
    """A record as Kafka gave it, for the dead letters."""

    position: RecordPosition
    timestamp_ms: int
    """When Kafka got it, for lag as an age."""
    key: bytes | None
    value: bytes | None
    headers: KafkaHeaders


class Record(NamedTuple):
    """One validated record: where it comes from, what is about it, what is in it."""

    source: Source
    headers: RecordHeaders
    validated: Validated
    fault: str | None = None
    """Why it is dead: then `validated` says so too and has no rows."""

    @property
    def partition(self) -> int:
        return self.source.position.partition

    @property
    def offset(self) -> int:
        return self.source.position.offset

    @property
    def identity(self) -> tuple[UUID, int]:
        return self.headers.batch_id, self.headers.item


def check(record: Record) -> None:
    """Raises `UnstorableRecordError` with what does not fit; what passes can only be refused by the database."""
    headers, counts = record.headers, record.validated.counts
    _within("received-at", headers.received_at_ms // 1000, EARLIEST_S, LATEST_S)
    _within("rev", headers.rev, 0, INT8_MAX)
    _within("item", headers.item, 0, INT2_MAX)
    _within("items", headers.items, 0, INT2_MAX)
    for number in (headers.device_id, headers.provider_id, headers.gateway_id or 0):
        _within("device, provider or gateway id", number, 0, INT4_MAX)
    if counts.values != counts.accepted + counts.refused + counts.not_taken + counts.repeated:
        raise UnstorableRecordError(f"its counts do not add up: {counts}")
    if sum(_count(rows) for rows in record.validated.rows) != counts.accepted:
        raise UnstorableRecordError(f"it counts {counts.accepted} accepted values and brings another number")


def dead(source: Source, headers: RecordHeaders | None, fault: str, raw: RecordPosition | None = None) -> Record:
    """What stands in the ledger for a record that cannot be stored; headers that do not fit are made up.

    Without a raw position its own stands there.
    """
    validated = Validated(raw=raw or source.position, status=Status.DEAD, counts=Counts(), error=fault)
    record = Record(source, headers or _made_up(source), validated, fault)
    try:
        check(record)
    except UnstorableRecordError:
        return record._replace(headers=_made_up(source))
    return record


def _made_up(source: Source) -> RecordHeaders:
    """The same for the same position; a UUIDv8, so that it is no ingest-api's batch id. Received when Kafka got it."""
    digest = bytearray(hashlib.sha256(str(source.position).encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return RecordHeaders(
        batch_id=UUID(bytes=bytes(digest)),
        item=0,
        items=1,
        provider_id=0,
        gateway_id=None,
        device_id=0,
        source="http",
        received_at_ms=source.timestamp_ms,
        rev=0,
        registry=RegistryVersion("", 0),
    )


def first_of_each(records: Iterable[Record]) -> list[Record]:
    """Without records that came before under the same batch id and item: the first result wins."""
    seen: dict[tuple[UUID, int], Record] = {}
    for record in records:
        seen.setdefault(record.identity, record)
    return list(seen.values())


def _count(rows: Rows) -> int:
    """The number of values of a block whose columns fit together."""
    expected = len(rows.sensors) * len(rows.timestamps)
    if len(rows.values) != expected or len(rows.quality) not in (0, expected):
        raise UnstorableRecordError("a block's values do not fit its sensors and timestamps")
    if expected:
        _within("timestamp", min(rows.timestamps), EARLIEST_S, LATEST_S)
        _within("timestamp", max(rows.timestamps), EARLIEST_S, LATEST_S)
        _within("sensor", min(rows.sensors), 0, INT2_MAX)
        _within("sensor", max(rows.sensors), 0, INT2_MAX)
    if rows.quality:
        _within("quality", min(rows.quality), 0, INT2_MAX)
        _within("quality", max(rows.quality), 0, INT2_MAX)
    return expected


def _within(what: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise UnstorableRecordError(f"{what} {number} is not between {least} and {most}")
