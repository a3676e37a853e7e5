"""A line of a device file, read and checked: pure, so that a file of 100,000 lines can be tried without a database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metering_auth.domain.texts import InvalidEntryError, normalised
from metering_auth.domain.zones import checked_zone
from metering_common.contract.limits import DAY_SECONDS

COLUMNS = ("number", "zone", "interval_seconds", "active", "sensors", "meter_exchanges")
REQUIRED = "number"
SEPARATOR = "|"
DEFAULT_ZONE = "America/Santiago"
LONGEST_INTERVAL = 366 * DAY_SECONDS
LAST_SECOND = 253_402_300_799  # of the year 9999
ACTIVE = {"": True, "true": True, "1": True, "false": False, "0": False}

Resolve = Callable[[Sequence[Any]], tuple[int, ...]]
"""Dictionary ids for names or aliases; raises `InvalidEntryError`."""


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """A device as the table keeps it."""

    number: str
    sensors: tuple[int, ...]
    zone: str
    interval_seconds: int | None
    meter_exchanges: tuple[int, ...]
    active: bool


@dataclass(frozen=True)
class LineFault:
    """Why a line of the file cannot be taken; `line` counts from 1, the header included."""

    line: int
    reason: str


def check_header(columns: Sequence[str] | None) -> None:
    """Raises `InvalidEntryError` for a file that is not one of devices."""
    if columns is None or REQUIRED not in columns:
        raise InvalidEntryError(f"the first line must name the columns, {REQUIRED} among them")
    unknown = sorted(set(columns) - set(COLUMNS))
    if unknown or len(set(columns)) != len(columns):
        raise InvalidEntryError(
            f"columns are {', '.join(COLUMNS)}; unknown or repeated: {', '.join(unknown or columns)}"
        )


def read_line(cells: Mapping[str, str | None], whole_dictionary: tuple[int, ...], resolve: Resolve) -> DeviceLine:
    """The device of one line; an absent or empty cell takes its default. Raises `InvalidEntryError`."""
    if None in cells or None in cells.values():
        raise InvalidEntryError("the line has not as many cells as the header")
    given = {name: (text or "").strip() for name, text in cells.items()}
    named = [name for name in given.get("sensors", "").split(SEPARATOR) if name.strip()]
    interval, exchanges = given.get("interval_seconds", ""), given.get("meter_exchanges", "")
    return DeviceLine(
        number=normalised(cells[REQUIRED] or "", "the number"),
        sensors=resolve(named) if named else whole_dictionary,
        zone=checked_zone(given.get("zone") or DEFAULT_ZONE),
        interval_seconds=checked_interval(_whole(interval, "interval_seconds")) if interval else None,
        meter_exchanges=checked_exchanges([_whole(each, "meter_exchanges") for each in exchanges.split(SEPARATOR)])
        if exchanges
        else (),
        active=_active(given.get("active", "")),
    )


def checked_interval(seconds: int) -> int:
    """Raises `InvalidEntryError`."""
    if not 0 < seconds <= LONGEST_INTERVAL:
        raise InvalidEntryError(f"an interval of {seconds} s is not between 1 s and a year")
    return seconds


def checked_exchanges(instants: Sequence[int]) -> tuple[int, ...]:
    """Unix seconds, each once, in order; raises `InvalidEntryError`."""
    for instant in instants:
        if not 0 <= instant <= LAST_SECOND:
            raise InvalidEntryError(f"{instant} is no Unix time in seconds")
    return tuple(sorted(set(instants)))


def _whole(text: str, what: str) -> int:
    if not (text.strip().isascii() and text.strip().isdecimal() and len(text) <= len(str(LAST_SECOND)) + 1):
        raise InvalidEntryError(f"{what} {text[:32]!r} is no whole number")
    return int(text)


def _active(text: str) -> bool:
    active = ACTIVE.get(text.lower())
    if active is None:
        raise InvalidEntryError(f"active {text[:32]!r} is neither true nor false")
    return active
