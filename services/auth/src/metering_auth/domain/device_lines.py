"""A line of a device file, read and checked: pure, so that a file of 100,000 lines can be tried without a database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from metering_auth.domain.register_terms import LAST_SECOND, checked_exchanges, checked_rates, read_exchange, read_rate
from metering_auth.domain.sensor_entries import resolve
from metering_auth.domain.texts import InvalidEntryError, checked_interval, normalised
from metering_auth.domain.zones import checked_zone
from metering_common.registry.documents import MeterExchange, Sensor

COLUMNS = ("number", "zone", "interval_seconds", "active", "sensors", "maximum_rates", "exchanges")
REQUIRED = "number"
SEPARATOR = "|"
DEFAULT_ZONE = "America/Santiago"
ACTIVE = {"": True, "true": True, "1": True, "false": False, "0": False}


class Dictionary:
    """The sensors that a file's lines may name; each list of names is looked up once."""

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        self.sensors = sensors
        self.whole = tuple(sensor.id for sensor in sensors)
        self._resolve = cache(lambda named: resolve(named, sensors))

    def listed(self, named: Sequence[str]) -> tuple[int, ...]:
        """Ids in the dictionary's order, all of them where none is named; raises `InvalidEntryError`."""
        return self._resolve(tuple(named)) if named else self.whole


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """A device as the table keeps it."""

    number: str
    sensors: tuple[int, ...]
    zone: str
    interval_seconds: int | None
    maximum_rates: dict[int, float] | None
    exchanges: tuple[MeterExchange, ...]
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


def read_line(cells: Mapping[str, str | None], dictionary: Dictionary) -> DeviceLine:
    """The device of one line; an absent or empty cell takes its default. Raises `InvalidEntryError`."""
    if None in cells or None in cells.values():
        raise InvalidEntryError("the line has not as many cells as the header")
    given = {name: (text or "").strip() for name, text in cells.items()}
    interval = given.get("interval_seconds", "")
    return DeviceLine(
        number=normalised(cells[REQUIRED] or "", "the number"),
        sensors=dictionary.listed(_parts(given, "sensors")),
        zone=checked_zone(given.get("zone") or DEFAULT_ZONE),
        interval_seconds=checked_interval(_whole(interval, "interval_seconds")) if interval else None,
        maximum_rates=_rates(_parts(given, "maximum_rates"), dictionary),
        exchanges=checked_exchanges(read_exchange(each, dictionary.sensors) for each in _parts(given, "exchanges")),
        active=_active(given.get("active", "")),
    )


def _parts(given: Mapping[str, str], column: str) -> list[str]:
    return [part for part in given.get(column, "").split(SEPARATOR) if part.strip()]


def _rates(texts: Sequence[str], dictionary: Dictionary) -> dict[int, float] | None:
    pairs = [read_rate(text, dictionary.sensors) for text in texts]
    if len(dict(pairs)) != len(pairs):
        raise InvalidEntryError("a register has two maximum rates")
    return checked_rates(dict(pairs))


def _whole(text: str, what: str) -> int:
    if not (text.strip().isascii() and text.strip().isdecimal() and len(text) <= len(str(LAST_SECOND)) + 1):
        raise InvalidEntryError(f"{what} {text[:32]!r} is no whole number")
    return int(text)


def _active(text: str) -> bool:
    active = ACTIVE.get(text.lower())
    if active is None:
        raise InvalidEntryError(f"active {text[:32]!r} is neither true nor false")
    return active
