"""In the transaction of a batch: a note of what it touched, for `metering-writer registers`. Only ever appended."""

from collections.abc import Iterator, Sequence

import numpy as np

from metering_writer.adapters.measurement_rows import copy_binary
from metering_writer.adapters.session import Session
from metering_writer.domain.columns import POSTGRES_EPOCH_S, Block
from metering_writer.domain.records import Record

COLUMNS = ("received_at", "since", "upto", "device_id", "sensors")
_SMALLINT_OID = 21


async def append_notes(session: Session, blocks: Sequence[Block], records: Sequence[Record]) -> None:
    """One row per device and list of sensors, and one per device of which nothing was accepted."""
    notes = [_of_block(block) for block in blocks]
    with_rows = {int(device) for block in blocks for device in np.unique(block.device)}
    notes.extend(_of_refused(record) for record in records if record.headers.device_id not in with_rows)
    if notes:
        await copy_binary(session, "register_note", notes, COLUMNS)


def _of_block(block: Block) -> bytes:
    """The block is sorted by device and time."""
    starts = np.flatnonzero(np.r_[True, block.device[1:] != block.device[:-1]])
    ends = np.r_[starts[1:], len(block.device)] - 1
    sensors = _smallints(block.sensors)
    layout = [("n", ">i2"), ("l1", ">i4"), ("received", ">i8"), ("l2", ">i4"), ("since", ">i8"), ("l3", ">i4"),
        ("upto", ">i8"), ("l4", ">i4"), ("device", ">i4"), ("l5", ">i4"), ("sensors", f"V{len(sensors)}")]  # fmt: skip
    rows = np.empty(len(starts), np.dtype(layout))
    rows["n"] = len(COLUMNS)
    rows["l1"], rows["l2"], rows["l3"], rows["l4"], rows["l5"] = 8, 8, 8, 4, len(sensors)
    received_ms = np.maximum.reduceat(block.rev, starts) >> 20
    rows["received"] = received_ms * 1_000 - POSTGRES_EPOCH_S * 1_000_000
    rows["since"] = (block.ts[starts] - POSTGRES_EPOCH_S) * 1_000_000
    rows["upto"] = (block.ts[ends] - POSTGRES_EPOCH_S) * 1_000_000
    rows["device"] = block.device[starts]
    rows["sensors"] = np.void(sensors)
    return rows.tobytes()


def _of_refused(record: Record) -> bytes:
    received = record.headers.received_at_ms * 1_000 - POSTGRES_EPOCH_S * 1_000_000
    return b"".join(_fields(_big(received), None, None, _integer(record.headers.device_id), _smallints(())))


def _fields(*fields: bytes | None) -> Iterator[bytes]:
    yield len(fields).to_bytes(2, "big")
    for field in fields:
        yield (-1 if field is None else len(field)).to_bytes(4, "big", signed=True)
        yield field or b""


def _big(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def _integer(value: int) -> bytes:
    return value.to_bytes(4, "big", signed=True)


def _smallints(values: Sequence[int]) -> bytes:
    """PostgreSQL's binary smallint[]: dimensions, no NULLs, the element's type, length and lower bound, elements."""
    if not values:
        return _integer(0) + _integer(0) + _integer(_SMALLINT_OID)
    head = _integer(1) + _integer(0) + _integer(_SMALLINT_OID) + _integer(len(values)) + _integer(1)
    return head + b"".join(_integer(2) + value.to_bytes(2, "big", signed=True) for value in values)
