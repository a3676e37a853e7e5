"""Which channels wait, since when, and from where they are read again once a mapping takes them.

Unknown is not unwanted: a device or channel without an entry in the mapping is held, and its place is kept.
"""

from collections.abc import Iterable, Mapping

import msgspec

from metering_ecl_poller.domain.portal.models import Sample
from metering_ecl_poller.domain.window import Cursors


class ChannelHold(msgspec.Struct, frozen=True):
    """A channel whose samples are read but not published. `resume_ms`: the last stamp published; None: nothing yet."""

    reason: str
    since_ms: int
    resume_ms: int | None


Holds = Mapping[str, ChannelHold]
"""By channel, of one device."""


def updated(holds: Holds, held: Mapping[str, str], taken: Iterable[str], cursors: Cursors, now_ms: int) -> Holds:
    """Returns the holds after a read.

    `held` is channel to reason; `taken` are the channels that are published now and whose backlog is still to be read:
    their holds stay until `released`. A channel that the mapping no longer wants is forgotten.
    """
    waiting = {channel: hold for channel, hold in holds.items() if channel in set(taken)}
    for channel, reason in held.items():
        known = holds.get(channel)
        cursor = cursors.get(channel)
        resume = known.resume_ms if known else cursor.timestamp_ms if cursor else None
        waiting[channel] = ChannelHold(reason, known.since_ms if known else now_ms, resume)
    return waiting


def backlog(holds: Holds, taken: Iterable[str]) -> Holds:
    """Returns the holds of channels that are published now: their time since `resume_ms` is still to be read."""
    return {channel: holds[channel] for channel in taken if channel in holds}


def resumed(holds: Holds, channels: Iterable[str], reached_ms: int | None) -> Holds:
    """Returns the holds with the backlog of these channels read up to a stamp; None: wholly, so they are released."""
    chosen = set(channels)
    if reached_ms is None:
        return {channel: hold for channel, hold in holds.items() if channel not in chosen}
    return {
        channel: msgspec.structs.replace(hold, resume_ms=reached_ms) if channel in chosen else hold
        for channel, hold in holds.items()
    }


def behind(holds: Holds, samples: Iterable[Sample], held: Iterable[str]) -> Holds:
    """Returns the holds, each beginning before the earliest sample of its channel that came late, behind it."""
    channels, moved = set(held), dict(holds)
    for sample in samples:
        hold = moved.get(sample.channel) if sample.channel in channels else None
        if hold is not None and hold.resume_ms is not None and sample.timestamp_ms < hold.resume_ms:
            moved[sample.channel] = msgspec.structs.replace(hold, resume_ms=sample.timestamp_ms)
    return moved
