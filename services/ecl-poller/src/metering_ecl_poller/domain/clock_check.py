"""Whether a controller's clock can be believed: what the three times of its samples tell (guide, section 7.3)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from metering_ecl_poller.portal.models import Sample

TOLERANCE_MS = 10 * 60_000  # the portal collects just after the hour, within minutes
AHEAD_TOLERANCE_MS = 2 * 60_000
PORTAL_TOLERANCE_MS = 5 * 60_000
HOUR_MS = 3_600_000
MAX_ZONE_HOURS = 14
ZONE_TOLERANCE_MS = 20 * 60_000


class ClockState(StrEnum):
    """What is known of a controller's clock. ZONE: off by whole hours, as a wrong zone on the portal makes it."""

    RIGHT = "right"
    WRONG = "wrong"
    ZONE = "zone_suspect"
    PORTAL = "portal_clock_wrong"


class ClockFinding(NamedTuple):
    """The state after the newest collection. `offset_ms`: how far the controller lags behind (negative: is ahead)."""

    state: ClockState
    offset_ms: int
    doubtful: frozenset[int]
    """The received times of the collections whose samples carry doubtful time stamps."""


def check_clock(samples: Iterable[Sample], now_ms: int, interval_ms: int) -> ClockFinding | None:
    """None without samples.

    All samples of one collection share their received time. The newest of them was at most one log interval old
    when it was fetched; one that is older, or newer than its own collection, was stamped by a wrong clock.
    """
    newest: dict[int, int] = {}
    for sample in samples:
        newest[sample.received_ms] = max(sample.timestamp_ms, newest.get(sample.received_ms, sample.timestamp_ms))
    if not newest:
        return None
    states = {received: _state(received, stamp, now_ms, interval_ms) for received, stamp in newest.items()}
    last = max(newest)
    doubtful = frozenset(received for received, state in states.items() if state is not ClockState.RIGHT)
    return ClockFinding(states[last], last - newest[last], doubtful)


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
