"""The ledger by time of reception, through its primary key: batch ids are UUIDv7, which begin with milliseconds."""

from uuid import UUID

STAND_INS_END = UUID(int=1 << 112)
"""Below it lie the ids that stand in for headers no code could read: partition and offset, no time (validator)."""


def first_of(unix_ms: int) -> UUID:
    """No batch id made at or after that millisecond is lower."""
    return UUID(int=unix_ms << 80)
