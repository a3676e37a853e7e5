"""Which column of a CSV file is which sensor of which device, as the mapping file says it."""

from collections.abc import Iterator, Mapping
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

    `where`: only rows whose cells are these (column, text), for files with a row per register.

    A register that has a `start` also sends that value, `start_seconds_before` its first row.
    """

    sensor: str
    column: str
    multiply: Decimal
    divide: Decimal
    register: bool
    start: Decimal | None
    start_seconds_before: int
    where: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceMapping:
    number: str
    sensors: tuple[ColumnMapping, ...]


@dataclass(frozen=True, slots=True)
class FileMapping:
    """`time_columns`, joined by a blank, are read with `time_format` (strptime; None: ISO 8601), as local time of
    `zone` unless they carry an offset. `delimiter`, `decimal` and `thousands` are None where the file is to show them.
    """

    delimiter: str | None
    decimal: str | None
    thousands: str | None
    missing: frozenset[str]
    time_columns: tuple[str, ...]
    time_format: str | None
    zone: ZoneInfo | None
    devices: tuple[DeviceMapping, ...]

    def sensors(self) -> Iterator[ColumnMapping]:
        return (sensor for device in self.devices for sensor in device.sensors)

    def columns(self) -> list[str]:
        conditions = (column for sensor in self.sensors() for column, _ in sensor.where)
        return sorted({*self.time_columns, *(sensor.column for sensor in self.sensors()), *conditions})


def read_mapping(document: Any) -> FileMapping:
    """Of the JSON document described in the README. Raises MappingError."""
    where = "mapping"
    time = _get(document, "time", dict, where)
    devices = tuple(_device(d, f"devices[{i}]") for i, d in enumerate(_get(document, "devices", list, where)))
    _require_distinct(devices)
    columns = _texts(_get(time, "columns", list, "time"), "time: columns")
    zone = _zone(_get(time, "zone", str, "time")) if "zone" in time else None
    mapping = FileMapping(
        delimiter=_mark(document, "delimiter"),
        decimal=_mark(document, "decimal"),
        thousands=_mark(document, "thousands"),
        missing=frozenset(_texts(_get(document, "missing", list, where, ["", "?"]), "missing")),
        time_columns=columns,
        time_format=_get(time, "format", str, "time") if "format" in time else None,
        zone=zone,
        devices=devices,
    )
    _require_marks(mapping)
    return mapping


def _require_distinct(devices: tuple[DeviceMapping, ...]) -> None:
    """One value per device, sensor and row: the second one would be a correction of the first."""
    if not devices:
        raise MappingError("mapping: devices: at least one is expected")
    seen: set[tuple[str, str, tuple[tuple[str, str], ...]]] = set()
    for device in devices:
        for sensor in device.sensors:
            key = device.number, sensor.sensor, sensor.where
            if key in seen:
                raise MappingError(f"devices: {sensor.sensor!r} of device {device.number!r} is mapped twice")
            seen.add(key)


def _require_marks(mapping: FileMapping) -> None:
    if mapping.decimal is not None and mapping.decimal not in ".,":
        raise MappingError('mapping: decimal: "." or "," is expected')
    if mapping.decimal is not None and mapping.decimal in {mapping.delimiter, mapping.thousands}:
        raise MappingError("mapping: decimal: it is the delimiter or the mark of thousands too")


def _mark(document: Any, name: str) -> str | None:
    """One character, or None if it is left out."""
    if name not in document:
        return None
    mark = _get(document, name, str, "mapping")
    if len(mark) != 1:
        raise MappingError(f"mapping: {name}: one character is expected")
    return mark


def _texts(values: list[Any], where: str) -> tuple[str, ...]:
    if not all(isinstance(value, str) for value in values):
        raise MappingError(f"{where}: a list of texts is expected")
    return tuple(values)


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
        where=_conditions(_get(document, "where", dict, where, {}), where),
    )


def _conditions(document: dict[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    _texts(list(document.values()), f"{where}: where")
    return tuple(sorted(document.items()))


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
