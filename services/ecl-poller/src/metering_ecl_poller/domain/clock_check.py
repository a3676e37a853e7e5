"""Checks a controller's clock by the three times of its samples (guide, section 7.3)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from metering_ecl_poller.domain.portal.models import Sample

TOLERANCE_MS = 10 * 60_000  # the portal collects just after the hour, within minutes
AHEAD_TOLERANCE_MS = 2 * 60_000
PORTAL_TOLERANCE_MS = 5 * 60_000
HOUR_MS = 3_600_000
MAX_ZONE_HOURS = 14
ZONE_TOLERANCE_MS = 20 * 60_000
JUMP_FACTOR = 1.5  # of the log interval, within one collection


class ClockState(StrEnum):
    """What is known of a controller's clock. ZONE: off by whole hours, as a wrong zone on the portal makes it."""

    RIGHT = "right"
    WRONG = "wrong"
    ZONE = "zone_suspect"
    PORTAL = "portal_clock_wrong"


Doubtful = frozenset[tuple[int, int]]
"""Received time and time stamp of the samples whose time stamps cannot be trusted."""


class ClockFinding(NamedTuple):
    """The state after the newest collection. `offset_ms`: how far the controller lags behind (negative: is ahead)."""

    state: ClockState
    offset_ms: int
    doubtful: Doubtful


def check_clock(samples: Iterable[Sample], now_ms: int, interval_ms: int) -> ClockFinding | None:
    """None without samples.

    All samples of one collection share their received time. The newest of them was at most one log interval old
    when it was fetched; one that is older, or newer than its own collection, was stamped by a wrong clock. The others
    lie behind it without a jump; what lies behind a jump was stamped before the clock was set.
    """
    collections: dict[int, set[int]] = {}
    for sample in samples:
        collections.setdefault(sample.received_ms, set()).add(sample.timestamp_ms)
    if not collections:
        return None
    doubtful: set[tuple[int, int]] = set()
    for received, stamps in collections.items():
        right = _state(received, max(stamps), now_ms, interval_ms) is ClockState.RIGHT
        trusted = _without_jump(stamps, interval_ms) if right else set()
        doubtful |= {(received, stamp) for stamp in stamps - trusted}
    last = max(collections)
    newest = max(collections[last])
    return ClockFinding(_state(last, newest, now_ms, interval_ms), last - newest, frozenset(doubtful))


def _without_jump(stamps: set[int], interval_ms: int) -> set[int]:
    """From the newest back, as far as no interval is missing."""
    trusted: set[int] = set()
    before = max(stamps)
    for stamp in sorted(stamps, reverse=True):
        if before - stamp > interval_ms * JUMP_FACTOR:
            break
        trusted.add(stamp)
        before = stamp
    return trusted


def _state(received_ms: int, stamp_ms: int, now_ms: int, interval_ms: int) -> ClockState:
    if received_ms > now_ms + PORTAL_TOLERANCE_MS:
        return ClockState.PORTAL
    lag = received_ms - stamp_ms
    if -AHEAD_TOLERANCE_MS <= lag <= interval_ms + TOLERANCE_MS:
        return ClockState.RIGHT
    middle = lag - interval_ms // 2
    hours = round(middle / HOUR_MS)
    whole = abs(middle - hours * HOUR_MS) <= ZONE_TOLERANCE_MS
    return ClockState.ZONE if whole and 1 <= abs(hours) <= MAX_ZONE_HOURS else ClockState.WRONG
