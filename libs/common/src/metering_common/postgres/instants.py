"""Unix time here, timestamptz in the database."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_of(unix_ms: int) -> datetime:
    """Exact to the millisecond, which a division would not be."""
    return EPOCH + timedelta(milliseconds=unix_ms)


def instant_of_seconds(unix_seconds: int) -> datetime:
    """Raises OverflowError for what no calendar says."""
    return EPOCH + timedelta(seconds=unix_seconds)


def unix_ms_of(instant: datetime) -> int:
    """Whole milliseconds, rounded down."""
    return (instant - EPOCH) // timedelta(milliseconds=1)
