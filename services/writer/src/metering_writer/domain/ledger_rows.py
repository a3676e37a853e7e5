"""Rows of the ledger in binary COPY: what has a width is filled column by column, the rest once per kind of entry."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metering_common.contract.messages import Counts
from metering_writer.domain.accounts import WriteResult
from metering_writer.domain.binary_copy import Column, field, new_rows, row_type, timestamps_of_ms
from metering_writer.domain.entries import ValidatedEntry

_METADATA = ("item", "items", "device_id", "provider_id", "rev", "clock_doubtful", "stands_for")
_COUNTS = Counts.__struct_fields__
_FIXED = (
    Column("batch_id", "V16"),
    Column("received_at", ">i8"),
    Column("item", ">i2"),
    Column("items", ">i2"),
    Column("device_id", ">i4"),
    Column("provider_id", ">i4"),
    Column("rev", ">i8"),
    Column("clock_doubtful", "?"),
    Column("stands_for", ">i4"),
    *[Column(name, ">i4") for name in (*_COUNTS, *WriteResult._fields)],
    Column("refusals_beyond", ">i4"),
    Column("raw_partition", ">i4"),
    Column("raw_offset", ">i8"),
    Column("raw_index", ">i2"),
    Column("registry_position", ">i8"),
)
_OTHERS = ("gateway_id", "source", "status", "raw_topic", "registry_epoch", "traceparent", "replays", "error")
_ROW = row_type(_FIXED)

LEDGER_COLUMNS = (*[column.name for column in _FIXED], *_OTHERS)


def ledger_rows(entries: Sequence[ValidatedEntry], write_results: Sequence[WriteResult]) -> list[bytes]:
    """One row per entry, sorted by (batch id, item)."""
    if not entries:
        return []
    fixed, order = _fixed(entries, write_results)
    width, data = _ROW.itemsize, fixed.tobytes()
    pieces: list[bytes] = []
    for row, place in enumerate(order.tolist()):
        pieces += (data[row * width : (row + 1) * width], _others(entries[place]))
    return [b"".join(pieces)]


def _fixed(
    entries: Sequence[ValidatedEntry], write_results: Sequence[WriteResult]
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The rows in the order of their keys, and the place that each had."""
    rows = new_rows(len(entries), _ROW, len(_OTHERS))
    ids = b"".join([entry.metadata.batch_id.bytes for entry in entries])
    rows["batch_id"] = np.frombuffer(ids, "V16")
    rows["received_at"] = timestamps_of_ms(np.array([entry.metadata.received_at_ms for entry in entries], np.int64))
    for name in _METADATA:
        rows[name] = [getattr(entry.metadata, name) for entry in entries]
    for name in _COUNTS:
        rows[name] = [getattr(entry.validated.counts, name) for entry in entries]
    for name, column in zip(WriteResult._fields, np.array(write_results, np.int64).T, strict=True):
        rows[name] = column
    rows["refusals_beyond"] = [entry.validated.refusals_beyond for entry in entries]
    rows["raw_partition"] = [entry.envelope.raw.partition for entry in entries]
    rows["raw_offset"] = [entry.envelope.raw.offset for entry in entries]
    rows["raw_index"] = [entry.place for entry in entries]
    rows["registry_position"] = [entry.metadata.registry.position for entry in entries]
    halves = np.frombuffer(ids, ">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((rows["item"], halves[:, 1], halves[:, 0]))
    return rows[order], order


def _others(entry: ValidatedEntry) -> bytes:
    metadata, error = entry.metadata, entry.validated.error
    return _encoded(
        metadata.gateway_id,
        metadata.source,
        entry.validated.status.value,
        entry.envelope.raw.topic,
        metadata.registry.epoch,
        metadata.traceparent,
        None if metadata.replays is None else str(metadata.replays),
        None if error is None else error.replace("\0", "\\0"),  # NUL cannot stand in PostgreSQL's text
    )


@lru_cache(4_096)
def _encoded(gateway_id: int | None, *texts: str | None) -> bytes:
    """Nearly all entries of a gateway say the same."""
    fields = [None if gateway_id is None else gateway_id.to_bytes(4)]
    fields += [None if text is None else text.encode() for text in texts]
    return b"".join([field(one) for one in fields])
