"""The headers of a measurement record: what is about it and not in it (docs/architecture.md, *Headers*)."""

from typing import Literal, Self
from uuid import UUID

import msgspec

SCHEMA_VERSION = 1
MAX_ERROR_BYTES = 4_096

Source = Literal["http", "ecl", "replay"]
KafkaHeaders = list[tuple[str, bytes]]


class UnknownSchemaVersionError(Exception):
    """The record was written by a newer release: the process must end before any commit, never dead-letter it."""


class MalformedHeadersError(Exception):
    """The record's headers cannot be read by any release: the record is poison."""


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


class RegistryVersion(msgspec.Struct, frozen=True):
    """What a registry replica knew: the registry's epoch and the consumer position in it (not the last offset)."""

    epoch: str
    position: int


class RecordHeaders(msgspec.Struct, frozen=True, kw_only=True):
    """Stamped once, at ingest-api or by the poller, and carried unchanged to the row."""

    batch_id: UUID
    item: int
    items: int
    provider_id: int
    gateway_id: int | None
    """Absent for what the poller brings."""
    device_id: int
    source: Source
    received_at_ms: int
    rev: int
    registry: RegistryVersion
    traceparent: str | None = None
    clock_doubtful: bool = False
    replays: RecordPosition | None = None
    """The raw record that this one validates again."""


_NUMBERS = ("item", "items", "provider-id", "gateway-id", "device-id", "received-at-ms", "rev", "registry-position")


def encode_headers(headers: RecordHeaders) -> KafkaHeaders:
    """Kafka headers, all ASCII text; absent ones are left out. Written out: every record has them, and time counts."""
    encoded = [
        ("schema-version", b"%d" % SCHEMA_VERSION),
        ("batch-id", str(headers.batch_id).encode()),
        ("item", b"%d" % headers.item),
        ("items", b"%d" % headers.items),
        ("provider-id", b"%d" % headers.provider_id),
        ("device-id", b"%d" % headers.device_id),
        ("source", headers.source.encode()),
        ("received-at-ms", b"%d" % headers.received_at_ms),
        ("rev", b"%d" % headers.rev),
        ("registry-epoch", headers.registry.epoch.encode()),
        ("registry-position", b"%d" % headers.registry.position),
    ]
    if headers.gateway_id is not None:
        encoded.append(("gateway-id", b"%d" % headers.gateway_id))
    if headers.traceparent is not None:
        encoded.append(("traceparent", headers.traceparent.encode()))
    if headers.clock_doubtful:
        encoded.append(("clock-doubtful", b"1"))
    if headers.replays is not None:
        encoded.append(("replays", str(headers.replays).encode()))
    return encoded


def decode_headers(headers: KafkaHeaders) -> RecordHeaders:
    """Raises `UnknownSchemaVersionError` or `MalformedHeadersError`."""
    try:
        texts = {name: value.decode("ascii") for name, value in headers}
    except (UnicodeDecodeError, AttributeError) as error:
        raise MalformedHeadersError("a header is not ASCII text") from error
    check_schema_version(texts.get("schema-version"))
    try:
        return _from_texts(texts)
    except (KeyError, ValueError) as error:
        raise MalformedHeadersError(f"headers cannot be read: {error!r}") from error


def check_schema_version(text: str | None) -> None:
    """A missing or non-numeric version is malformed; another number belongs to a newer release."""
    if text is None or not text.isdecimal():
        raise MalformedHeadersError(f"schema-version is {text!r}, not a number")
    if int(text) != SCHEMA_VERSION:
        raise UnknownSchemaVersionError(
            f"schema version {text} is unknown to this release, which reads {SCHEMA_VERSION}"
        )


def _from_texts(texts: dict[str, str]) -> RecordHeaders:
    numbers = {name: int(texts[name]) for name in _NUMBERS if name in texts}
    source = texts["source"]
    if source not in ("http", "ecl", "replay"):
        raise ValueError(f"unknown source {source!r}")
    return RecordHeaders(
        batch_id=UUID(texts["batch-id"]),
        item=numbers["item"],
        items=numbers["items"],
        provider_id=numbers["provider-id"],
        gateway_id=numbers.get("gateway-id"),
        device_id=numbers["device-id"],
        source=source,  # type: ignore[arg-type]  # narrowed by the membership test, which mypy does not follow
        received_at_ms=numbers["received-at-ms"],
        rev=numbers["rev"],
        registry=RegistryVersion(texts["registry-epoch"], numbers["registry-position"]),
        traceparent=texts.get("traceparent"),
        clock_doubtful=texts.get("clock-doubtful") == "1",
        replays=RecordPosition.parse(texts["replays"]) if "replays" in texts else None,
    )


class DeadLetterNote(msgspec.Struct, frozen=True, kw_only=True):
    """Why and where a record died; its own bytes and headers stand beside it, unchanged."""

    source: RecordPosition
    error: str
    service: str
    died_at_ms: int


def encode_dead_letter_headers(original: KafkaHeaders, note: DeadLetterNote) -> KafkaHeaders:
    """The original headers with the `dead-…` ones behind; the error is cut to 4 KiB of UTF-8."""
    error = note.error.encode("utf-8", "replace")[:MAX_ERROR_BYTES].decode("utf-8", "ignore")
    return [
        *((name, value) for name, value in original if not name.startswith("dead-")),
        ("dead-source", str(note.source).encode()),
        ("dead-error", error.encode()),
        ("dead-service", note.service.encode()),
        ("dead-at-ms", str(note.died_at_ms).encode()),
    ]


def decode_dead_letter_headers(headers: KafkaHeaders) -> tuple[KafkaHeaders, DeadLetterNote]:
    """The original headers and the note; raises `MalformedHeadersError`."""
    texts = {name: value.decode("utf-8", "replace") for name, value in headers if name.startswith("dead-")}
    try:
        note = DeadLetterNote(
            source=RecordPosition.parse(texts["dead-source"]),
            error=texts["dead-error"],
            service=texts["dead-service"],
            died_at_ms=int(texts["dead-at-ms"]),
        )
    except (KeyError, ValueError) as error:
        raise MalformedHeadersError(f"not a dead letter: {error!r}") from error
    return [(name, value) for name, value in headers if not name.startswith("dead-")], note
