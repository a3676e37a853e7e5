"""What is known of a device's registers: the most that each counts in an hour, and when its meter was exchanged."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from metering_auth.domain.sensor_entries import REGISTERS, resolve
from metering_auth.domain.texts import InvalidEntryError
from metering_common.registry.documents import MeterExchange, Sensor

LAST_SECOND = 253_402_300_799  # of the year 9999
PART = ";"
"""Between the parts of one rate or exchange in a cell of a file."""


def register_named(name: str, dictionary: Sequence[Sensor]) -> int:
    """The id of a register by its name or alias; raises `InvalidEntryError`, also for a sensor that is no register."""
    (number,) = resolve([name], dictionary)
    kind = next(known.kind for known in dictionary if known.id == number)
    if kind not in REGISTERS:
        raise InvalidEntryError(f"sensor {name!r} is {kind.value}: only registers have exchanges and maximum rates")
    return number


def checked_rates(rates: Mapping[int, float]) -> dict[int, float] | None:
    """In the order of ids, None for none; raises `InvalidEntryError`."""
    for rate in rates.values():
        if not (math.isfinite(rate) and rate > 0):
            raise InvalidEntryError(f"a maximum rate of {rate} an hour is not above 0")
    return dict(sorted(rates.items())) or None


def checked_exchanges(exchanges: Iterable[MeterExchange]) -> tuple[MeterExchange, ...]:
    """In order of time and sensor; raises `InvalidEntryError`, also for two of one register at one time."""
    found = sorted(exchanges, key=lambda one: (one.at, one.sensor))
    for one in found:
        if not 0 <= one.at <= LAST_SECOND:
            raise InvalidEntryError(f"{one.at} is no Unix time in seconds")
        for reading in (one.closing, one.opening):
            if reading is not None and not math.isfinite(reading):
                raise InvalidEntryError(f"{reading} is no reading of a register")
    if len({(one.at, one.sensor) for one in found}) != len(found):
        raise InvalidEntryError("a register is exchanged twice at the same time: remove one exchange first")
    return tuple(found)


def read_rate(text: str, dictionary: Sequence[Sensor]) -> tuple[int, float]:
    """`SENSOR;RATE`; raises `InvalidEntryError`."""
    name, separator, rate = text.rpartition(PART)
    if not separator:
        raise InvalidEntryError(f"maximum rate {text[:64]!r} is not of the form SENSOR{PART}RATE")
    return register_named(name, dictionary), _number(rate, "maximum rate")


def read_exchange(text: str, dictionary: Sequence[Sensor]) -> MeterExchange:
    """`SENSOR;TIME;CLOSING;OPENING`, the readings may be left out or empty; raises `InvalidEntryError`."""
    name, at, closing, opening = _four(text)
    return MeterExchange(
        sensor=register_named(name, dictionary),
        at=_second(at),
        closing=_number(closing, "closing reading") if closing else None,
        opening=_number(opening, "opening reading") if opening else None,
    )


def written_rate(name: str, rate: float) -> str:
    """As `read_rate` reads it."""
    return f"{name}{PART}{rate!r}"


def written_exchange(name: str, exchange: MeterExchange) -> str:
    """As `read_exchange` reads it."""
    readings = ["" if reading is None else repr(reading) for reading in (exchange.closing, exchange.opening)]
    return PART.join([name, datetime.fromtimestamp(exchange.at, UTC).isoformat(), *readings])


def _four(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(PART)]
    least, most = 2, 4
    if not least <= len(parts) <= most:
        form = PART.join(("SENSOR", "TIME", "CLOSING", "OPENING"))
        raise InvalidEntryError(f"exchange {text[:64]!r} is not of the form {form}")
    return parts + [""] * (most - len(parts))


def _second(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidEntryError(f"time {text[:64]!r} is not ISO 8601 with a zone: write 2026-03-10T12:00Z")
    return int(moment.timestamp())


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidEntryError(f"{what} {text[:32]!r} is no number") from None
