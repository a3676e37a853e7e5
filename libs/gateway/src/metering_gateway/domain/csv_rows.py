"""From the rows of a CSV file to measures: columns to sensors, running sums to registers, whole days moved."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation

from metering_gateway.domain.csv_mapping import ColumnMapping, DeviceMapping, FileMapping
from metering_gateway.domain.measures import Measure

Row = Mapping[str, str | None]


class RowError(ValueError):
    """A row that cannot be read; the message names the line of the file."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The line that is read, for errors, and how its file is written."""

    line: int
    mapping: FileMapping


@dataclass(frozen=True, slots=True)
class RowMeasures:
    """What one row gives; `timestamp` is the row's, in Unix seconds. The first row also carries the start values."""

    number: int
    timestamp: int
    measures: tuple[Measure, ...]


def days_to_move(last: date, end: date | None) -> int:
    """By how many whole days the file moves so that its last day is `end`; none without."""
    return 0 if end is None else (end - last).days


def local_time(row: Row, mapping: FileMapping, line: int) -> datetime:
    """The row's time on the wall of the file's zone, without the zone."""
    text = " ".join(row.get(column) or "" for column in mapping.time_columns)
    try:
        return datetime.strptime(text, mapping.time_format)  # noqa: DTZ007  # the zone follows after the days are moved
    except ValueError as error:
        raise RowError(f"line {line}: {text!r} is no time of the form {mapping.time_format}") from error


def measures_of(rows: Iterable[Row], mapping: FileMapping, shift_days: int) -> Iterator[RowMeasures]:
    """In the order of the rows, numbered from 0; the file's first line is the header, so row 0 is line 2.

    Deterministic, so a replay that was killed goes on by running over the rows that are stored already.
    Raises RowError.
    """
    sums: dict[tuple[str, str], Decimal] = {}
    for number, row in enumerate(rows):
        line = number + 2
        place = _Place(line, mapping)
        moved = local_time(row, mapping, line) + timedelta(days=shift_days)
        timestamp = int(moved.replace(tzinfo=mapping.zone).astimezone(UTC).timestamp())
        starts = _start_measures(mapping, timestamp) if number == 0 else ()
        read = (_measure(device, row, timestamp, sums, place) for device in mapping.devices)
        yield RowMeasures(number, timestamp, (*starts, *(m for m in read if m.values)))


def _measure(
    device: DeviceMapping,
    row: Row,
    timestamp: int,
    sums: dict[tuple[str, str], Decimal],
    place: _Place,
) -> Measure:
    """A missing cell gives no value; a register goes on from its last sum at the next one that is there."""
    values: dict[str, float] = {}
    for sensor in device.sensors:
        number = _number(row.get(sensor.column), sensor, place)
        if number is None:
            continue
        if sensor.register:
            key = (device.number, sensor.sensor)
            sums[key] = number = sums.get(key, Decimal(0)) + number
        values[sensor.sensor] = float((sensor.start or 0) * sensor.register + number * sensor.multiply / sensor.divide)
    return Measure(device.number, timestamp, values)


def _number(cell: str | None, sensor: ColumnMapping, place: _Place) -> Decimal | None:
    text = (cell or "").strip()
    if text in place.mapping.missing:
        return None
    try:
        return Decimal(text.replace(place.mapping.decimal, "."))
    except InvalidOperation as error:
        raise RowError(f"line {place.line}: {sensor.column}: {text!r} is no number") from error


def _start_measures(mapping: FileMapping, first: int) -> Iterator[Measure]:
    """Each register's value before its first row, so that the first row's consumption has something to stand on."""
    for device in mapping.devices:
        starting = {s.start_seconds_before for s in device.sensors if s.register and s.start is not None}
        for seconds in sorted(starting, reverse=True):
            values = {
                s.sensor: float(s.start)
                for s in device.sensors
                if s.register and s.start is not None and s.start_seconds_before == seconds
            }
            yield Measure(device.number, first - seconds, values)
