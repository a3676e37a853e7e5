"""What is about an entry and not in it. `EntryMetadata` is the one table that encoder, decoder and schema read."""

from typing import Annotated, Literal, Self
from uuid import UUID
from zlib import crc32

import msgspec
from msgspec import Meta

Source = Literal["http", "ecl", "replay"]
KafkaHeaders = list[tuple[str, bytes]]

Int2 = Annotated[int, Meta(ge=0, le=2**15 - 1)]
Int4 = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Int8 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
UnixMilliseconds = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
"""Up to the end of the year 9999, the last that both PostgreSQL and Python's datetime can say."""

_UUID_VERSION_8 = 8


class RecordPosition(msgspec.Struct, frozen=True):
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`; raises ValueError."""
        topic, partition, offset = text.rsplit("/", 2)
        return cls(topic, int(partition), int(offset))


class EntryPosition(msgspec.Struct, frozen=True):
    """Where an entry stands: its record, and its index in the record's envelope."""

    topic: str
    partition: int
    offset: int
    index: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}/{self.index}"

    @property
    def record(self) -> RecordPosition:
        return RecordPosition(self.topic, self.partition, self.offset)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The inverse of `str`; raises ValueError."""
        topic, partition, offset, index = text.rsplit("/", 3)
        return cls(topic, int(partition), int(offset), int(index))

    @classmethod
    def within(cls, record: RecordPosition, index: int) -> Self:
        return cls(record.topic, record.partition, record.offset, index)


class RegistryVersion(msgspec.Struct, frozen=True):
    """What a registry replica knew: the registry's epoch and the consumer position in it (not the last offset)."""

    epoch: str
    position: Int8


class EntryMetadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Stamped once, at ingest-api or by the poller, and carried unchanged to the row.

    The bounds are those of the tables' types: what passes here can be stored.
    """

    batch_id: UUID
    item: Int2
    items: Int2
    provider_id: Int4
    gateway_id: Int4 | None = None
    """Absent for what the poller brings."""
    device_id: Int4
    source: Source
    received_at_ms: UnixMilliseconds
    rev: Int8
    registry: RegistryVersion
    traceparent: str | None = None
    clock_doubtful: bool = False
    replays: EntryPosition | None = None
    """The raw entry that this one validates again."""
    stands_for: Int4 = 1
    """Entries whose place in the accounting this one takes: more than one only for an envelope that cannot be read."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(EntryMetadata)


def encode_metadata(metadata: EntryMetadata) -> bytes:
    """JSON in one line, the same bytes for the same metadata."""
    return _encoder.encode(metadata)


def decode_metadata(text: bytes) -> EntryMetadata:
    """Raises `msgspec.DecodeError`."""
    return _decoder.decode(text)


def stand_in_metadata(at: EntryPosition, kafka_timestamp_ms: int, stands_for: int = 1) -> EntryMetadata:
    """For an entry whose own metadata cannot be read: the same every time.

    The batch id is a UUIDv8, whose content is the maker's own affair (RFC 9562): 16 zeros, partition, index, offset and
    12 bits of the topic's name.
    """
    return EntryMetadata(
        batch_id=_stand_in_id(at),
        item=0,
        items=1,
        provider_id=0,
        device_id=0,
        source="http",
        received_at_ms=max(kafka_timestamp_ms, 0),
        rev=0,
        registry=RegistryVersion("", 0),
        stands_for=stands_for,
    )


def _stand_in_id(at: EntryPosition) -> UUID:
    place = (at.partition & 0xFFFF) << 96 | (at.index & 0xFFFF) << 80 | at.offset & 0x3FFF_FFFF_FFFF_FFFF
    topic = crc32(at.topic.encode()) & 0xFFF
    return UUID(int=place | _UUID_VERSION_8 << 76 | topic << 64 | 0x2 << 62)
