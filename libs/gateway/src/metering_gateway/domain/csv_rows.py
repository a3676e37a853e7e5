"""From the rows of a CSV file to measures: columns to sensors, running sums to registers, whole days moved."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from metering_gateway.domain.csv_mapping import ColumnMapping, FileMapping
from metering_gateway.domain.local_times import Instants, LocalTimeError, read_time, whole_days
from metering_gateway.domain.measures import Measure
from metering_gateway.domain.number_format import Cell, NumberFormat, NumberFormatError, find_format
from metering_gateway.domain.table_row import TableRow

_Condition = tuple[tuple[str, str], ...]


class RowError(ValueError):
    """A row that cannot be read; the message names the line of the file."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """What only the whole of a file shows: how its numbers are written, and whether its times descend."""

    numbers: NumberFormat
    descending: bool
    row_count: int
    last_day: date


@dataclass(frozen=True, slots=True)
class RowMeasures:
    """What one row gives; `timestamp` is the row's, in Unix seconds. The first row also carries the start values."""

    number: int
    timestamp: int
    measures: tuple[Measure, ...]


def days_to_move(last: date, end: date | None) -> int:
    """By how many whole days the file moves so that its last day is `end`; none without."""
    return 0 if end is None else (end - last).days


def look_at(rows: Iterable[TableRow], mapping: FileMapping) -> FileFormat:
    """Reads all rows once over. Raises RowError."""
    scan = _Scan(mapping)
    cells = scan.cells(rows)
    try:
        numbers = find_format(cells, mapping.decimal, mapping.thousands)
    except NumberFormatError as error:
        raise RowError(str(error)) from error
    for _ in cells:  # with a given format the numbers show nothing; the times are still to be seen
        pass
    if scan.last is None:
        raise RowError("no row after the header")
    return FileFormat(numbers, scan.ends_before_it_starts(), scan.row_count, scan.last)


class _Scan:
    """One pass over the rows that gives their numbers and remembers what it sees of their times."""

    def __init__(self, mapping: FileMapping) -> None:
        self._mapping = mapping
        self._columns = sorted({sensor.column for sensor in mapping.sensors()})
        self._first_time: str | None = None
        self._last_time = ""
        self.row_count = 0
        self.last: date | None = None

    def cells(self, rows: Iterable[TableRow]) -> Iterator[Cell]:
        for row in rows:
            self._see_time(row)
            for column in self._columns:
                if (text := row.cells[column].strip()) not in self._mapping.missing:
                    yield Cell(column, row.line, text)

    def _see_time(self, row: TableRow) -> None:
        self._last_time = time_text(row, self._mapping)
        self._first_time = self._last_time if self._first_time is None else self._first_time
        try:
            moment = read_time(self._last_time, self._mapping.time_format)
        except LocalTimeError as error:
            raise RowError(f"line {row.line}: {error}") from error
        if moment.tzinfo is not None and self._mapping.zone is not None:
            moment = moment.astimezone(self._mapping.zone)
        self.last = max(self.last or moment.date(), moment.date())
        self.row_count += 1

    def ends_before_it_starts(self) -> bool:
        first, last = (read_time(t, self._mapping.time_format) for t in (self._first_time or "", self._last_time))
        return last.replace(tzinfo=None) < first.replace(tzinfo=None)


def time_text(row: TableRow, mapping: FileMapping) -> str:
    return " ".join(row.cells[column].strip() for column in mapping.time_columns)


def measures_of(
    rows: Iterable[TableRow], mapping: FileMapping, form: FileFormat, shift_days: int
) -> Iterator[RowMeasures]:
    """In the order of the rows, numbered from 0. Deterministic, so a replay that was killed goes on by running over
    the rows that are stored already. Raises RowError.
    """
    reading = _Reading(mapping, form)
    for number, row in enumerate(rows):
        try:
            timestamp = reading.instant(row) + whole_days(shift_days)
            measures = tuple(reading.measures(row, timestamp))
        except ValueError as error:
            raise RowError(f"line {row.line}: {error}") from error
        starts = tuple(_start_measures(mapping, timestamp)) if number == 0 else ()
        yield RowMeasures(number, timestamp, (*starts, *measures))


@dataclass(slots=True)
class _Reading:
    """What is carried from row to row: running sums, and which times were read already."""

    mapping: FileMapping
    form: FileFormat
    sums: dict[tuple[str, str, _Condition], Decimal] = field(default_factory=dict)
    lines: dict[tuple[_Condition, int], int] = field(default_factory=dict)
    texts: set[tuple[_Condition, str]] = field(default_factory=set)
    instants: Instants = field(init=False)

    def __post_init__(self) -> None:
        self.instants = Instants(self.mapping.zone, self.mapping.time_format, descending=self.form.descending)

    def instant(self, row: TableRow) -> int:
        """The row's time; the same one twice for one register is no correction but a mistake."""
        text, conditions = time_text(row, self.mapping), self._conditions(row)
        instant = self.instants.of(text, seen_at_first=any((c, text) in self.texts for c in conditions))
        for condition in conditions:
            before = self.lines.setdefault((condition, instant), row.line)
            if before != row.line:
                raise LocalTimeError(f"the time {text!r} stands in line {before} already")
            self.texts.add((condition, text))
        return instant

    def measures(self, row: TableRow, timestamp: int) -> Iterator[Measure]:
        """A missing cell gives no value; a register goes on from its last sum at the next one that is there."""
        for device in self.mapping.devices:
            values: dict[str, float] = {}
            for sensor in device.sensors:
                number = self._number(row, sensor)
                if number is None:
                    continue
                if sensor.register:
                    key = (device.number, sensor.sensor, sensor.where)
                    self.sums[key] = number = self.sums.get(key, Decimal(0)) + number
                start = (sensor.start or 0) * sensor.register
                values[sensor.sensor] = float(start + number * sensor.multiply / sensor.divide)
            if values:
                yield Measure(device.number, timestamp, values)

    def _number(self, row: TableRow, sensor: ColumnMapping) -> Decimal | None:
        text = row.cells[sensor.column].strip()
        if text in self.mapping.missing or not _holds(sensor.where, row):
            return None
        try:
            return self.form.numbers.read(text)
        except ValueError as error:
            raise RowError(f'{sensor.column}: {error} (a cell without a value? add it to "missing")') from error

    def _conditions(self, row: TableRow) -> set[_Condition]:
        return {sensor.where for sensor in self.mapping.sensors() if _holds(sensor.where, row)}


def _holds(where: _Condition, row: TableRow) -> bool:
    return all(row.cells[column].strip() == text for column, text in where)


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
