"""Which column of a CSV file is which sensor of which device, as the mapping file says it."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

T = TypeVar("T")

_WORDS: dict[type, str] = {str: "text", dict: "an object", list: "a list", int: "a whole number", bool: "true or false"}


class MappingError(ValueError):
    """The mapping file is wrong; the message names the place and what is expected there."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The sensor's value is the column times `multiply` / `divide`; of a register, the running sum of that.

    A register that has a `start` also sends that value, `start_seconds_before` its first row.
    """

    sensor: str
    column: str
    multiply: Decimal
    divide: Decimal
    register: bool
    start: Decimal | None
    start_seconds_before: int


@dataclass(frozen=True, slots=True)
class DeviceMapping:
    number: str
    sensors: tuple[ColumnMapping, ...]


@dataclass(frozen=True, slots=True)
class FileMapping:
    """`time_columns`, joined by a blank, are read with `time_format` (strptime) as local time of `zone`."""

    delimiter: str
    decimal: str
    missing: frozenset[str]
    time_columns: tuple[str, ...]
    time_format: str
    zone: ZoneInfo
    devices: tuple[DeviceMapping, ...]

    def columns(self) -> set[str]:
        return {*self.time_columns, *(s.column for device in self.devices for s in device.sensors)}


def read_mapping(document: Any) -> FileMapping:
    """Of the JSON document described in the README. Raises MappingError."""
    where = "mapping"
    time = _get(document, "time", dict, where)
    devices = tuple(_device(d, f"devices[{i}]") for i, d in enumerate(_get(document, "devices", list, where)))
    if not devices:
        raise MappingError("mapping: devices: at least one is expected")
    return FileMapping(
        delimiter=_get(document, "delimiter", str, where, ","),
        decimal=_get(document, "decimal", str, where, "."),
        missing=frozenset(_get(document, "missing", list, where, ["", "?"])),
        time_columns=tuple(_get(time, "columns", list, "time")),
        time_format=_get(time, "format", str, "time"),
        zone=_zone(_get(time, "zone", str, "time")),
        devices=devices,
    )


def _device(document: Any, where: str) -> DeviceMapping:
    sensors = _get(document, "sensors", list, where)
    mapped = tuple(_column(s, f"{where}.sensors[{i}]") for i, s in enumerate(sensors))
    return DeviceMapping(_get(document, "number", str, where), mapped)


def _column(document: Any, where: str) -> ColumnMapping:
    divide = _decimal(document, "divide", where, 1)
    if divide == 0:
        raise MappingError(f"{where}: divide: not 0")
    return ColumnMapping(
        sensor=_get(document, "sensor", str, where),
        column=_get(document, "column", str, where),
        multiply=_decimal(document, "multiply", where, 1),
        divide=divide,
        register=_get(document, "register", bool, where, default=False),
        start=_decimal(document, "start", where, 0) if "start" in document else None,
        start_seconds_before=_get(document, "startSecondsBefore", int, where, 60),
    )


def _get(document: Any, name: str, kind: type[T], where: str, default: T | None = None) -> T:
    if not isinstance(document, Mapping):
        raise MappingError(f"{where}: an object is expected")
    value = document.get(name, default)
    if not isinstance(value, kind):
        raise MappingError(f"{where}: {name}: {_WORDS[kind]} is expected")
    return value


def _decimal(document: Any, name: str, where: str, default: int) -> Decimal:
    value = document.get(name, default) if isinstance(document, Mapping) else None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise MappingError(f"{where}: {name}: a number is expected")
    return number


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise MappingError(f"time: zone: {name!r} is no time zone of the IANA database") from error
