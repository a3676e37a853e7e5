"""Second stop of a measure in the writer: a Kafka record becomes a validated record, or a dead one with its fault."""

from uuid import UUID

import msgspec
from aiokafka import ConsumerRecord

from metering_common.contract.codec import decode_validated
from metering_common.contract.metadata import (
    MAX_ERROR_BYTES,
    MalformedHeadersError,
    RecordHeaders,
    RecordPosition,
    decode_headers,
)
from metering_writer.domain.records import Record, Source, UnstorableRecordError, check, dead


def decode(consumed: ConsumerRecord) -> Record:
    """Raises `UnknownSchemaVersionError`, which must end the process; anything else unreadable is a dead record."""
    source = source_of(consumed)
    headers: RecordHeaders | None = None
    raw: RecordPosition | None = None
    try:
        headers = decode_headers(source.headers)
        record = Record(source, headers, decode_validated(source.value or b""))
        raw = record.validated.raw
        check(record)
    except (MalformedHeadersError, msgspec.DecodeError, UnstorableRecordError, RecursionError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}".encode()[:MAX_ERROR_BYTES].decode(errors="ignore")
        return dead(source, headers, fault, raw)
    return record


def identity(consumed: ConsumerRecord) -> tuple[UUID, int]:
    """Batch id and item, as they were stored when this record was the last one of its partition."""
    return decode(consumed).identity


def source_of(consumed: ConsumerRecord) -> Source:
    return Source(
        RecordPosition(consumed.topic, consumed.partition, consumed.offset),
        consumed.timestamp,
        consumed.key,
        consumed.value,
        [(name, bytes(value or b"")) for name, value in consumed.headers],
    )
