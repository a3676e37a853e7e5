"""Which zones a device may have: its days and months begin and end on whole hours UTC."""

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from metering_auth.domain.texts import InvalidEntryError

_HOUR_SECONDS = 3_600
_YEARS = range(2024, 2038)  # nothing older than 400 days is ever taken (RV-09)


def checked_zone(name: str) -> str:
    """The IANA name as given, or `InvalidEntryError` when it is unknown or its offset is not whole hours."""
    if name not in _known():
        raise InvalidEntryError(f"zone {name[:64]!r} is no IANA time zone")
    if not _has_whole_hours(name):
        raise InvalidEntryError(f"zone {name!r} has an offset that is not whole hours")
    return name


@cache
def _known() -> frozenset[str]:
    return frozenset(available_timezones())


@cache
def _has_whole_hours(name: str) -> bool:
    """Asked of each month of these years, so that a zone's summer time counts too."""
    zone = ZoneInfo(name)
    instants = (datetime(year, month, 1, tzinfo=UTC).astimezone(zone) for year in _YEARS for month in range(1, 13))
    return all((instant.utcoffset() or instant - instant).total_seconds() % _HOUR_SECONDS == 0 for instant in instants)
