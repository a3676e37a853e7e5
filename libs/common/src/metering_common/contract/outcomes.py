"""Outcomes on their topic: packed per partition, the batch ids first, so that a reader decodes only those it wants."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from uuid import UUID

import msgspec
from aiokafka.partitioner import murmur2

from metering_common.contract.envelope import PackedEntry, pack, unpack
from metering_common.contract.messages import Outcome

RECORD_BYTES = 256 * 1024
"""So many bytes of outcomes share a record; one outcome alone may be larger."""
_KEYS_REMEMBERED = 65_536

_encoder = msgspec.json.Encoder()
_outcome = msgspec.json.Decoder(Outcome)
_id = msgspec.json.Decoder(str)


@lru_cache(_KEYS_REMEMBERED)
def partition_of(batch_id: UUID, partitions: int) -> int:
    """Where the outcomes of a batch are: murmur2 of the id's text, as Kafka's clients choose by key."""
    return int((murmur2(str(batch_id).encode()) & 0x7FFF_FFFF) % partitions)


def pack_outcomes(outcomes: Iterable[Outcome], partitions: int) -> Iterator[tuple[int, bytes]]:
    """Partitions and the values of records for them, in the order of the partitions."""
    packed: dict[int, list[PackedEntry]] = {}
    for outcome in outcomes:
        entry = PackedEntry(b'"%s"' % str(outcome.batch_id).encode(), _encoder.encode(outcome))
        packed.setdefault(partition_of(outcome.batch_id, partitions), []).append(entry)
    for partition in sorted(packed):
        yield from ((partition, pack(part)) for part in _parts(packed[partition]))


def outcomes_of(value: bytes, wanted: Collection[str] | Mapping[str, object]) -> Iterator[Outcome]:
    """Those of the wanted batches, named by their ids' text.

    Raises `UnreadableFrameError` and `msgspec.DecodeError`.
    """
    for batch_id, body in unpack(value):
        if _id.decode(batch_id) in wanted:
            yield _outcome.decode(body)


def all_outcomes(value: bytes) -> list[Outcome]:
    """Raises as `outcomes_of`."""
    return [_outcome.decode(body) for _, body in unpack(value)]


def _parts(entries: list[PackedEntry]) -> Iterator[list[PackedEntry]]:
    part: list[PackedEntry] = []
    size = 0
    for entry in entries:
        if part and size + len(entry.value) > RECORD_BYTES:
            yield part
            part, size = [], 0
        part.append(entry)
        size += len(entry.value)
    yield part
