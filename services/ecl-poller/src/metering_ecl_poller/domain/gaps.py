"""Finds the gaps between the samples of a read, with their reasons. Gaps are never filled."""

import itertools
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

from metering_ecl_poller.domain.portal.dialect import Dialect
from metering_ecl_poller.domain.portal.models import DeviceType, Sample

HOLE_FACTOR = 1.5  # of the expected interval between two samples


class GapReason(StrEnum):
    """Why a hole is there for good."""

    NO_CONTACT = "no_contact"
    """The portal could not reach the controller; this device keeps no history that could be fetched later."""
    DEVICE_SILENT = "device_silent"
    """The portal reached the controller and got nothing from this device."""
    LOG_OVERWRITTEN = "log_overwritten"
    """Out of the portal's reach for longer than the controller's log remembers."""
    CLOCK_CHANGED = "clock_changed"
    """The controller's clock was set forward: there never was a sample at these times."""
    NOT_LOGGED = "not_logged"
    """The controller's log has a hole of its own."""
    STAMP_REPEATED = "stamp_repeated"
    """Two samples have one stamp (a clock set back, the repeated hour in October); the trusted one was published."""
    TOO_OLD = "too_old"
    """The portal has data from before the first read, older than the platform takes."""


class Gap(msgspec.Struct, frozen=True, order=True):
    """Nothing between the sample at `from_ms` and the one at `to_ms`."""

    channel: str
    from_ms: int
    to_ms: int
    reason: GapReason


class SamplingIntervals(msgspec.Struct, frozen=True):
    """How often there should be samples, and how long the log remembers them; milliseconds."""

    log_interval_ms: int
    collection_interval_ms: int
    log_memory_ms: int

    def longest_lag_ms(self, *, active: bool) -> int:
        """How old the newest sample of a collection can be."""
        return self.log_interval_ms if active else self.collection_interval_ms

    def interval_of(self, kind: DeviceType) -> int:
        return self.log_interval_ms if kind is DeviceType.LOG else self.collection_interval_ms


def sampling_intervals(dialect: Dialect) -> SamplingIntervals:
    """Returns the dialect's intervals, in milliseconds."""
    times = dialect.intervals
    return SamplingIntervals(times.log_interval * 1_000, times.collection_interval * 1_000, times.log_memory * 1_000)


def find_gaps(
    samples: Iterable[Sample], kind: DeviceType, contacts: frozenset[int], intervals: SamplingIntervals
) -> list[Gap]:
    """Holes per channel. `contacts`: all received times that the controller's other devices show."""
    by_channel: dict[str, dict[int, int]] = {}
    for sample in samples:
        by_channel.setdefault(sample.channel, {})[sample.timestamp_ms] = sample.received_ms
    longest = intervals.interval_of(kind) * HOLE_FACTOR
    gaps = []
    for channel, received in by_channel.items():
        stamps = sorted(received)
        for before, after in itertools.pairwise(stamps):
            if after - before > longest:
                reason = _reason(kind, contacts, intervals, (before, received[before]), (after, received[after]))
                gaps.append(Gap(channel, before, after, reason))
    return sorted(gaps)


def repeated_stamps(lost: Iterable[Sample]) -> list[Gap]:
    """Returns the lost samples as gaps of one second each: their true time is not known."""
    seconds = sorted({(sample.channel, sample.timestamp_ms // 1_000 * 1_000) for sample in lost})
    return [Gap(channel, stamp, stamp + 1_000, GapReason.STAMP_REPEATED) for channel, stamp in seconds]


def spans_to_read_again(gaps: Iterable[Gap], now_ms: int, memory_ms: int) -> list[tuple[int, int]]:
    """Returns (from, to) of gaps that the controller's log may still fill, overlapping ones as one."""
    young = sorted((gap.from_ms, gap.to_ms) for gap in gaps if now_ms - gap.to_ms <= memory_ms)
    spans: list[tuple[int, int]] = []
    for start, end in young:
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans


def fills_any(samples: Iterable[Sample], gaps: Sequence[Gap]) -> bool:
    """Returns whether a sample lies inside a gap of its channel."""
    inside: dict[str, list[Gap]] = {}
    for gap in gaps:
        inside.setdefault(gap.channel, []).append(gap)
    return any(
        gap.from_ms < sample.timestamp_ms < gap.to_ms for sample in samples for gap in inside.get(sample.channel, ())
    )


def _reason(
    kind: DeviceType,
    contacts: frozenset[int],
    intervals: SamplingIntervals,
    before: tuple[int, int],
    after: tuple[int, int],
) -> GapReason:
    """`before` and `after` are (time stamp, received time) of the samples at the hole's ends."""
    collected_apart = after[1] - before[1]
    if 0 <= collected_apart <= intervals.collection_interval_ms * HOLE_FACTOR < after[0] - before[0]:
        return GapReason.CLOCK_CHANGED
    if kind is not DeviceType.LOG:
        margin = intervals.collection_interval_ms // 2
        met = any(before[1] + margin < contact < after[1] - margin for contact in contacts)
        return GapReason.DEVICE_SILENT if met else GapReason.NO_CONTACT
    beyond_memory = after[1] - before[0] > intervals.log_memory_ms
    return GapReason.LOG_OVERWRITTEN if beyond_memory else GapReason.NOT_LOGGED
