"""A dead letter: the bytes that no code can read or store, unchanged, with the error in headers beside them."""

import msgspec

from metering_common.contract.envelope import MAX_ERROR_BYTES, Envelope, MalformedHeadersError
from metering_common.contract.metadata import EntryPosition, KafkaHeaders, RecordPosition

METADATA = "metadata"
"""The header with an entry's metadata, as they came; a whole record that died has none."""


class DeadLetterNote(msgspec.Struct, frozen=True, kw_only=True):
    """Why and where a record, or one entry of it, died; its own bytes and headers stand beside it, unchanged."""

    source: RecordPosition
    index: int | None = None
    """Of the entry; None for a whole record."""
    error: str
    service: str
    died_at_ms: int

    @property
    def position(self) -> EntryPosition | RecordPosition:
        return self.source if self.index is None else EntryPosition.within(self.source, self.index)


class DeadLetter(msgspec.Struct, frozen=True):
    """What goes onto `measurements.dead.v1`."""

    value: bytes
    headers: KafkaHeaders


def dead_letter(envelope: Envelope, index: int, error: str, service: str, died_at_ms: int) -> DeadLetter:
    """The entry, or the whole record when its frame cannot be read."""
    record, (metadata, value) = envelope.record, envelope.entries[index].packed
    note = DeadLetterNote(
        source=record.position,
        index=index if envelope.readable else None,
        error=error,
        service=service,
        died_at_ms=died_at_ms,
    )
    about = [(METADATA, metadata)] if envelope.readable else []
    return DeadLetter(value, encode_dead_letter_headers([*record.headers, *about], note))


def encode_dead_letter_headers(original: KafkaHeaders, note: DeadLetterNote) -> KafkaHeaders:
    """The original headers with the `dead-…` ones behind; the error is cut to 4 KiB of UTF-8."""
    index = [] if note.index is None else [("dead-index", b"%d" % note.index)]
    return [
        *((name, value) for name, value in original if not name.startswith("dead-")),
        ("dead-source", str(note.source).encode()),
        *index,
        ("dead-error", cut_error(note.error).encode()),
        ("dead-service", note.service.encode()),
        ("dead-at-ms", str(note.died_at_ms).encode()),
    ]


def decode_dead_letter_headers(headers: KafkaHeaders) -> tuple[KafkaHeaders, DeadLetterNote]:
    """The original headers and the note; raises `MalformedHeadersError`."""
    texts = {name: value.decode("utf-8", "replace") for name, value in headers if name.startswith("dead-")}
    try:
        note = DeadLetterNote(
            source=RecordPosition.parse(texts["dead-source"]),
            index=int(texts["dead-index"]) if "dead-index" in texts else None,
            error=texts["dead-error"],
            service=texts["dead-service"],
            died_at_ms=int(texts["dead-at-ms"]),
        )
    except (KeyError, ValueError) as error:
        raise MalformedHeadersError(f"not a dead letter: {error!r}") from error
    return [(name, value) for name, value in headers if not name.startswith("dead-")], note


def cut_error(text: str) -> str:
    """At most 4 KiB of UTF-8."""
    return text.encode("utf-8", "replace")[:MAX_ERROR_BYTES].decode("utf-8", "ignore")
