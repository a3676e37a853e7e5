"""Which of two values for one key wins: the order that ingest-api stamps on records (docs/architecture.md, *Rev*)."""

from uuid import UUID

MAPPING_VERSIONS = 1 << 20
MAX_ITEMS = 1 << 7


def http_rev(received_at_ms: int, batch_id: UUID, item: int) -> int:
    """received-at in milliseconds << 20 | 13 bits of the batch id << 7 | item number (0 to 127).

    Values received later win; within one millisecond the batch id breaks the tie, within a batch the later item wins.
    """
    if not 0 <= item < MAX_ITEMS:
        raise ValueError(f"item {item} does not fit 7 bits")
    return received_at_ms << 20 | (batch_id.int & 0x1FFF) << 7 | item


def mapping_rev(received_at_ms: int, mapping_version: int) -> int:
    """The poller's rev: a newer mapping of the same answer wins, and nothing received later loses to it."""
    if not 0 <= mapping_version < MAPPING_VERSIONS:
        raise ValueError(f"mapping version {mapping_version} does not fit 20 bits")
    return received_at_ms << 20 | mapping_version
