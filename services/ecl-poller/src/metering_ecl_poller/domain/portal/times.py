"""The portal's time stamps, in and out: ISO 8601, answers always in UTC (guide, section 7.3)."""

import re
from datetime import UTC, datetime

Milliseconds = int
_DATE = re.compile(r"/Date\((-?\d{1,15})([+-]\d{4})?\)/")
"""Microsoft's JSON date; its zone is for display only."""


def to_portal_time(unix_ms: Milliseconds) -> str:
    """As the guide prints it, UTC with one fractional digit: `2013-04-18T08:53:00.0Z`."""
    moment = datetime.fromtimestamp(unix_ms / 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 100_000}Z"


def from_portal_time(text: object) -> Milliseconds:
    """Returns Unix milliseconds of ISO 8601 or `/Date(milliseconds)/`. Raises ValueError.

    A time stamp without zone is UTC, as answers always are.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no time stamp")  # noqa: TRY004  callers treat every unreadable stamp alike
    if wrapped := _DATE.fullmatch(text.strip()):
        return int(wrapped[1])
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)
