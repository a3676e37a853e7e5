"""From when a device's readings are asked for, and how far its cursors move: the difference between once and a hole."""

from collections.abc import Iterable, Mapping

import msgspec

from metering_ecl_poller.domain.portal.models import Sample

FIRST_READ_MS = 399 * 86_400_000
OVERLAP_MS = 3_600_000  # asked for again every time; the writer knows what is new


class Cursor(msgspec.Struct, frozen=True, order=True):
    """How far a channel was read: its last sample in the order in which the portal received them.

    Not the highest time stamp: a clock that is set back makes newer samples with lower time stamps.
    """

    received_ms: int
    timestamp_ms: int


Cursors = Mapping[str, Cursor]
"""By channel, of one device."""


def beginning_ms(created_ms: int | None, now_ms: int) -> int:
    """Returns from when a device is read that was never read: its creation, but not what the platform refuses as too
    old (RV-09: 400 days by default).
    """
    oldest = now_ms - FIRST_READ_MS
    return oldest if created_ms is None else min(max(created_ms - OVERLAP_MS, oldest), now_ms)


def from_ms(cursors: Cursors, now_ms: int, memory_ms: int) -> int:
    """Returns an hour before the rearmost channel, of a device that has cursors.

    A channel that has fallen silent holds the others back no further than that memory; a clock that ran ahead must
    not blind us for what comes after it was mended.
    """
    stamps = [cursor.timestamp_ms for cursor in cursors.values()]
    return min(max(min(stamps), max(stamps) - memory_ms), now_ms) - OVERLAP_MS


def far_from_ms(cursors: Cursors, now_ms: int, memory_ms: int) -> int:
    """Where to look when nothing new was found: the clock may have been set back."""
    stamps = [cursor.timestamp_ms for cursor in cursors.values()]
    return min([now_ms, *stamps]) - memory_ms - OVERLAP_MS


def is_new(sample: Sample, cursors: Cursors) -> bool:
    cursor = cursors.get(sample.channel)
    return cursor is None or Cursor(sample.received_ms, sample.timestamp_ms) > cursor


def any_new(samples: Iterable[Sample], cursors: Cursors) -> bool:
    return any(is_new(sample, cursors) for sample in samples)


def read_since(last_read_ms: int | None, cursors: Cursors) -> bool:
    """Returns whether the portal has read the device since the last sample that we have; true when unknown."""
    newest = max((cursor.received_ms for cursor in cursors.values()), default=0)
    return last_read_ms is None or last_read_ms > newest


def advanced(samples: Iterable[Sample], cursors: Cursors) -> dict[str, Cursor]:
    """Returns the cursors that move once these samples are acknowledged or held."""
    moved: dict[str, Cursor] = {}
    for sample in samples:
        reached = Cursor(sample.received_ms, sample.timestamp_ms)
        known = moved.get(sample.channel) or cursors.get(sample.channel)
        if known is None or reached > known:
            moved[sample.channel] = reached
    return moved


def settled(samples: tuple[Sample, ...], *, complete: bool) -> tuple[Sample, ...]:
    """Without the newest collection when a read was cut off in the middle of it: the next read has it whole.

    A clock can only be checked by all samples of one collection. A collection that lies inside the read (delivered
    late, or stamped by a clock that was set back) was not cut off: no later read would find it.
    """
    last = max((sample.received_ms for sample in samples), default=0)
    whole = tuple(sample for sample in samples if sample.received_ms < last)
    if complete or not whole:
        return samples
    first = min(sample.timestamp_ms for sample in samples if sample.received_ms == last)
    return whole if first > max(sample.timestamp_ms for sample in whole) else samples
