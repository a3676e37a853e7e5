"""The portal's time stamps, in and out: ISO 8601, answers always in UTC (guide, section 7.3)."""

from datetime import UTC, datetime

Milliseconds = int


def to_portal_time(unix_ms: Milliseconds) -> str:
    """As the guide prints it, UTC with one fractional digit: `2013-04-18T08:53:00.0Z`."""
    moment = datetime.fromtimestamp(unix_ms / 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 100_000}Z"


def from_portal_time(text: object) -> Milliseconds:
    """Unix milliseconds; a time stamp without zone is UTC, as answers always are. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no time stamp")  # noqa: TRY004  callers treat every unreadable stamp alike
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1_000)
