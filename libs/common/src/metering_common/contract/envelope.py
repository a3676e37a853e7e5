"""An envelope: one Kafka record that carries many entries, each framed by its length.

The value is one line of JSON, `{"lengths": […], "metadata": […]}`, and behind it the entries' bytes, one after the
other. What an entry holds cannot touch its neighbours, whatever it is.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple
from uuid import UUID

import msgspec

from metering_common.contract.metadata import (
    EntryMetadata,
    EntryPosition,
    Int4,
    KafkaHeaders,
    RecordPosition,
    decode_metadata,
    encode_metadata,
    stand_in_metadata,
)

SCHEMA_VERSION: Final = 1
ENVELOPE_BYTES = 256 * 1024
"""Metadata and entries of an envelope that is gathered; a larger request travels alone."""
MAX_ERROR_BYTES = 4_096


class UnknownSchemaVersionError(Exception):
    """The record was written by a newer release: the process must end before any commit, never dead-letter it."""


class MalformedHeadersError(Exception):
    """The record's headers cannot be read by any release: the record is poison."""


class UnreadableFrameError(Exception):
    """The envelope cannot be taken apart: it is poison as a whole."""


class EnvelopeHeaders(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """The Kafka headers of an envelope, each ASCII text."""

    schema_version: Literal[1]
    envelope_id: UUID
    """UUIDv7, given at ingest-api, kept through validation."""
    entries: Int4
    """How many entries the value holds: with it the account closes also when the value cannot be read."""
    raw: str | None = None
    """Of a validated envelope: topic/partition/offset of the raw one."""


class PackedEntry(NamedTuple):
    """What an envelope holds of an entry: its metadata as one line of JSON, and its bytes."""

    metadata: bytes
    value: bytes


class ConsumedRecord(NamedTuple):
    """A record as Kafka gave it."""

    position: RecordPosition
    timestamp_ms: int
    """When Kafka got it, for lag as an age."""
    key: bytes | None
    value: bytes | None
    headers: KafkaHeaders


class Entry(NamedTuple):
    """One entry of an envelope that was read."""

    metadata: EntryMetadata
    """Stands in for what cannot be read."""
    packed: PackedEntry
    """As it came."""
    fault: str | None = None
    """Why the metadata, or the whole frame, cannot be read."""


class Envelope(NamedTuple):
    """A record taken apart. One that cannot be read holds a single entry, which stands for all of them."""

    record: ConsumedRecord
    id: UUID
    raw: RecordPosition
    """Of the raw envelope: the record's own position where this is one."""
    entries: Sequence[Entry]
    readable: bool = True

    def raw_position(self, index: int) -> EntryPosition:
        return EntryPosition.within(self.raw, index)


class _Line(msgspec.Struct):
    lengths: list[Int4]
    metadata: list[msgspec.Raw]


_line = msgspec.json.Decoder(_Line)


def pack(entries: Sequence[PackedEntry]) -> bytes:
    """The value of a record that holds these entries."""
    lengths = ",".join([str(len(value)) for _, value in entries]).encode()
    metadata = b",".join([metadata for metadata, _ in entries])
    return b"".join([b'{"lengths":[', lengths, b'],"metadata":[', metadata, b"]}\n", *[value for _, value in entries]])


def unpack(value: bytes) -> list[PackedEntry]:
    """The inverse of `pack`; raises `UnreadableFrameError`."""
    end = value.find(b"\n") + 1
    try:
        line = _line.decode(memoryview(value)[:end])
    except (msgspec.DecodeError, RecursionError) as error:
        raise UnreadableFrameError(f"its first line cannot be read: {error}") from error
    if len(line.lengths) != len(line.metadata) or sum(line.lengths) != len(value) - end:
        raise UnreadableFrameError("its lengths do not fit its entries")
    entries = []
    for metadata, length in zip(line.metadata, line.lengths, strict=True):
        entries.append(PackedEntry(bytes(metadata), value[end : end + length]))
        end += length
    return entries


def encode_headers(headers: EnvelopeHeaders) -> KafkaHeaders:
    return [(name, str(value).encode()) for name, value in msgspec.to_builtins(headers).items()]


def decode_headers(headers: KafkaHeaders) -> EnvelopeHeaders:
    """Raises `UnknownSchemaVersionError` or `MalformedHeadersError`."""
    try:
        texts = {name: value.decode("ascii") for name, value in headers}
    except (UnicodeDecodeError, AttributeError) as error:
        raise MalformedHeadersError("a header is not ASCII text") from error
    check_schema_version(texts.get("schema-version"))
    try:
        return msgspec.convert(texts, EnvelopeHeaders, strict=False)
    except msgspec.ValidationError as error:
        raise MalformedHeadersError(f"headers cannot be read: {error}") from error


def check_schema_version(text: str | None) -> None:
    """A missing or non-numeric version is malformed; another number belongs to a newer release."""
    if text is None or not text.isdecimal():
        raise MalformedHeadersError(f"schema-version is {text!r}, not a number")
    if int(text) != SCHEMA_VERSION:
        raise UnknownSchemaVersionError(
            f"schema version {text} is unknown to this release, which reads {SCHEMA_VERSION}"
        )


def envelope_headers(envelope_id: UUID, entries: int, raw: RecordPosition | None = None) -> KafkaHeaders:
    """The headers of this release."""
    about = EnvelopeHeaders(
        schema_version=SCHEMA_VERSION,
        envelope_id=envelope_id,
        entries=entries,
        raw=None if raw is None else str(raw),
    )
    return encode_headers(about)


def read_envelope(record: ConsumedRecord) -> Envelope:
    """Takes a record apart. Raises `UnknownSchemaVersionError`, and nothing for what cannot be read: see `Envelope`."""
    try:
        headers = decode_headers(record.headers)
        raw = record.position if headers.raw is None else RecordPosition.parse(headers.raw)
        packed = _counted(unpack(record.value or b""), headers.entries)
    except (MalformedHeadersError, UnreadableFrameError, ValueError) as error:
        return _unreadable(record, str(error))
    entries = [_entry(record, index, one) for index, one in enumerate(packed)]
    return Envelope(record, headers.envelope_id, raw, entries)


def _counted(entries: list[PackedEntry], expected: int) -> list[PackedEntry]:
    if len(entries) != expected:
        raise UnreadableFrameError(f"it holds {len(entries)} entries, its header says {expected}")
    return entries


def _entry(record: ConsumedRecord, index: int, packed: PackedEntry) -> Entry:
    try:
        return Entry(decode_metadata(packed.metadata), packed)
    except (msgspec.DecodeError, RecursionError) as error:
        at = EntryPosition.within(record.position, index)
        return Entry(stand_in_metadata(at, record.timestamp_ms), packed, f"its metadata cannot be read: {error}")


def _unreadable(record: ConsumedRecord, error: str) -> Envelope:
    texts = dict(record.headers)
    metadata = stand_in_metadata(
        EntryPosition.within(record.position, 0), record.timestamp_ms, _count(texts.get("entries"))
    )
    entry = Entry(metadata, PackedEntry(b"", record.value or b""), f"the envelope cannot be read: {error}")
    return Envelope(record, metadata.batch_id, _raw_of(record, texts.get("raw")), [entry], readable=False)


def _count(text: bytes | None) -> int:
    """At least the one entry that it takes to make an envelope."""
    try:
        return min(max(int(text or b"1"), 1), 2**31 - 1)
    except ValueError:
        return 1


def _raw_of(record: ConsumedRecord, text: bytes | None) -> RecordPosition:
    try:
        return record.position if text is None else RecordPosition.parse(text.decode())
    except ValueError:
        return record.position


def repacked(entry: Entry) -> bytes:
    """The metadata for the next envelope: unchanged where they can be read."""
    return entry.packed.metadata if entry.fault is None else encode_metadata(entry.metadata)
