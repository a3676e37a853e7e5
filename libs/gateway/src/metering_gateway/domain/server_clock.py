"""How far this gateway's clock is from the platform's: the NTP of the poor of the published document."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Offset:
    """What to add to this gateway's clock, in milliseconds; the truth is at most `error_ms` away."""

    offset_ms: int
    error_ms: int


def measured_offset(sent_ms: int, server_ms: int, received_ms: int) -> Offset:
    """The server read its clock somewhere within the round trip; its middle halves the error."""
    round_trip = max(received_ms - sent_ms, 0)
    return Offset(server_ms - (sent_ms + round_trip // 2), (round_trip + 1) // 2 + 1)


def best(offsets: Iterable[Offset]) -> Offset:
    """Of several measurements the one with the shortest round trip."""
    return min(offsets, key=lambda offset: offset.error_ms)


def server_time_ms(document: Mapping[str, Any]) -> int:
    """Unix milliseconds of a `server-time` answer: its `datetime`, or the middle of its whole second `timestamp`.

    Raises ValueError if it holds neither.
    """
    text, seconds = document.get("datetime"), document.get("timestamp")
    if isinstance(text, str):
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return round(moment.timestamp() * 1000)
    if isinstance(seconds, int):
        return seconds * 1000 + 500
    raise ValueError("the answer of server-time holds no time")
