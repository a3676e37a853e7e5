"""Raw envelopes as records: for ingest-api, the poller and replay."""

from collections.abc import Iterable, Iterator, Sequence

from metering_common.contract.batch_id import new_batch_id
from metering_common.contract.envelope import ENVELOPE_BYTES, PackedEntry, envelope_headers, pack
from metering_common.contract.topics import RAW
from metering_common.kafka.producer_session import Record


def raw_record(entries: Sequence[PackedEntry], now_ms: int, partition: int | None = None) -> Record:
    """An envelope with an id of its own."""
    headers = envelope_headers(new_batch_id(now_ms), len(entries))
    return Record(RAW, None, pack(entries), headers, partition)


def full_envelopes(entries: Iterable[PackedEntry]) -> Iterator[list[PackedEntry]]:
    """As many together as an envelope takes; a larger entry alone."""
    part: list[PackedEntry] = []
    size = 0
    for entry in entries:
        bytes_of_one = len(entry.metadata) + len(entry.value)
        if part and size + bytes_of_one > ENVELOPE_BYTES:
            yield part
            part, size = [], 0
        part.append(entry)
        size += bytes_of_one
    if part:
        yield part
