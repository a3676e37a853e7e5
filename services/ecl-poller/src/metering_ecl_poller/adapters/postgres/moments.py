"""Milliseconds here, timestamptz in the database."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(unix_ms: int) -> datetime:
    """Exact, other than a float of seconds."""
    return _EPOCH + timedelta(milliseconds=unix_ms)


def moment_or_none(unix_ms: int | None) -> datetime | None:
    return None if unix_ms is None else moment(unix_ms)


def unix_ms(stamp: datetime) -> int:
    return (stamp - _EPOCH) // timedelta(milliseconds=1)
