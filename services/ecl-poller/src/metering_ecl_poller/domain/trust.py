"""What may be published of a read: nothing ahead of its answer, and never a doubted sample over a trusted one."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metering_ecl_poller.domain.clock_check import Doubtful
from metering_ecl_poller.domain.portal.models import Sample

SPAN_FACTOR = 1.5  # of the interval: what lies closer belongs to one span


class TrustedSpan(NamedTuple):
    """Stamps of a right clock, one interval apart, from the first to the last that were published; milliseconds."""

    from_ms: int
    to_ms: int


class Publishable(NamedTuple):
    """`samples` may be published. `waiting` are stamped ahead of their answer, `lost` gave way to a trusted sample."""

    samples: tuple[Sample, ...]
    waiting: tuple[Sample, ...]
    lost: tuple[Sample, ...]


def publishable(
    samples: Iterable[Sample], doubtful: Doubtful, trusted: Sequence[TrustedSpan], interval_ms: int
) -> Publishable:
    """Sorts out the samples of one read.

    RV-08 refuses what is stamped ahead of received-at, so such a sample waits: it is read again until its time has
    come. Of two samples with one stamp (the repeated hour in October, a clock set back) the trusted one stays, of two
    alike the one that the portal received later.
    """
    waiting, lost = [], []
    best: dict[tuple[str, int], Sample] = {}
    for sample in samples:
        if is_ahead(sample):
            waiting.append(sample)
            continue
        if _is_doubted(sample, doubtful) and _is_taken(sample.timestamp_ms, trusted, interval_ms):
            lost.append(sample)
            continue
        key = (sample.channel, sample.timestamp_ms // 1_000)
        known = best.get(key)
        if known is None or _rank(sample, doubtful) > _rank(known, doubtful):
            lost += [known] if known is not None else []
            best[key] = sample
        else:
            lost.append(sample)
    kept = sorted(best.values(), key=lambda sample: (sample.timestamp_ms, sample.channel))
    return Publishable(tuple(kept), tuple(waiting), tuple(lost))


def is_ahead(sample: Sample) -> bool:
    """Returns whether the stamp lies after the answer that brought the sample."""
    return sample.timestamp_ms > sample.answered_ms


def extended(
    trusted: Sequence[TrustedSpan], samples: Iterable[Sample], doubtful: Doubtful, interval_ms: int
) -> tuple[TrustedSpan, ...]:
    """Returns the spans with the trusted samples of a read added."""
    stamps = {sample.timestamp_ms for sample in samples if not _is_doubted(sample, doubtful)}
    pieces = sorted([*trusted, *(TrustedSpan(stamp, stamp) for stamp in stamps)])
    merged: list[TrustedSpan] = []
    for piece in pieces:
        if merged and piece.from_ms - merged[-1].to_ms <= interval_ms * SPAN_FACTOR:
            merged[-1] = TrustedSpan(merged[-1].from_ms, max(merged[-1].to_ms, piece.to_ms))
        else:
            merged.append(piece)
    return tuple(merged)


def _is_doubted(sample: Sample, doubtful: Doubtful) -> bool:
    return (sample.received_ms, sample.timestamp_ms) in doubtful


def _rank(sample: Sample, doubtful: Doubtful) -> tuple[bool, int]:
    return not _is_doubted(sample, doubtful), sample.received_ms


def _is_taken(stamp_ms: int, trusted: Sequence[TrustedSpan], interval_ms: int) -> bool:
    """A trusted sample has this very second: within a span stamps lie one interval apart."""
    second, step = stamp_ms // 1_000, interval_ms // 1_000
    return any(
        span.from_ms <= stamp_ms <= span.to_ms and (second - span.from_ms // 1_000) % step == 0 for span in trusted
    )
