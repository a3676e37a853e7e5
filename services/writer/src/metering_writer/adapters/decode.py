"""A record of the validated topic is taken apart into its entries, each good or dead by itself."""

from collections.abc import Iterator
from uuid import UUID

import msgspec
from aiokafka import ConsumerRecord as KafkaRecord

from metering_common.contract.dead_letters import cut_error
from metering_common.contract.envelope import ConsumedRecord, Envelope, read_envelope
from metering_common.contract.messages import decode_validated
from metering_common.contract.metadata import RecordPosition
from metering_writer.domain.entries import UnstorableEntryError, ValidatedEntry, check, dead


def decode(consumed: KafkaRecord) -> list[ValidatedEntry]:
    """In the envelope's order, never empty. Raises `UnknownSchemaVersionError`, which must end the process."""
    return list(_entries(read_envelope(consumed_record(consumed))))


def envelope_id(consumed: KafkaRecord) -> UUID:
    """As it was stored when this record was the last one of its partition."""
    return read_envelope(consumed_record(consumed)).id


def consumed_record(consumed: KafkaRecord) -> ConsumedRecord:
    return ConsumedRecord(
        RecordPosition(consumed.topic, consumed.partition, consumed.offset),
        consumed.timestamp,
        consumed.key,
        consumed.value,
        [(name, bytes(value or b"")) for name, value in consumed.headers],
    )


def _entries(envelope: Envelope) -> Iterator[ValidatedEntry]:
    for index, entry in enumerate(envelope.entries):
        if entry.fault is not None:
            yield dead(envelope, index, cut_error(entry.fault))
            continue
        try:
            validated = decode_validated(entry.packed.value)
            check(validated)
            yield ValidatedEntry(envelope, index, entry.metadata, validated)
        except (msgspec.DecodeError, UnstorableEntryError, RecursionError, ValueError) as error:
            yield dead(envelope, index, cut_error(f"{type(error).__name__}: {error}"))
