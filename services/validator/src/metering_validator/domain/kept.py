"""Puts what is kept into blocks of columns and marks the values whose quality is not good."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from metering_common.contract.messages import MAX_OUTCOME_FINDINGS, Quality, Rows
from metering_common.registry.documents import Sensor
from metering_validator.domain.context import Context
from metering_validator.domain.json_text import Json
from metering_validator.domain.names import NameColumn
from metering_validator.domain.rule_table import Numbers, Phase
from metering_validator.domain.rules import TABLE


class KeptRow(NamedTuple):
    """The values of a measure that no rule refuses."""

    place: int
    """Which measure of the record it is."""
    timestamp: int
    sensors: tuple[int, ...]
    columns: tuple[NameColumn, ...]
    numbers: list[float]
    came: list[Json]
    timestamp_came: Json


class Mark(NamedTuple):
    """A value that a rule marks, in the order of the document."""

    place: int
    column: int
    rule: str
    sensor: Sensor
    timestamp: int


class Marks:
    """Counts what the rules about quality mark, and keeps the first marks as findings."""

    def __init__(self) -> None:
        self.per_rule: Counter[str] = Counter()
        self._first: list[Mark] = []

    def add(self, marks: list[Mark]) -> None:
        """Adds what one rule marks in one column, in the order of the document."""
        if marks:
            self.per_rule[marks[0].rule] += len(marks)
            self._first += marks[:MAX_OUTCOME_FINDINGS]

    def first(self) -> list[Mark]:
        """Returns the first marks of the document, as many as an outcome has room for."""
        return sorted(self._first, key=lambda mark: mark[:3])[:MAX_OUTCOME_FINDINGS]


def blocks_of(rows: list[KeptRow], floor: Quality, context: Context, marks: Marks) -> list[Rows]:
    """Rows with the same sensors in one order share a block. No value is better than `floor`."""
    blocks: dict[tuple[int, ...], list[KeptRow]] = {}
    for row in rows:
        if row.numbers:
            blocks.setdefault(row.sensors, []).append(row)
    return [_block(sensors, rows, floor, context, marks) for sensors, rows in blocks.items()]


def _block(sensors: tuple[int, ...], rows: list[KeptRow], floor: Quality, context: Context, marks: Marks) -> Rows:
    values = [number for row in rows for number in row.numbers]
    quality = [int(floor)] * len(values)
    for place in range(len(sensors)):
        for value_at, mark in _marked(place, rows, values, context, marks):
            quality[value_at] = max(quality[value_at], mark)
    timestamps = [row.timestamp for row in rows]
    return Rows(sensors=sensors, timestamps=timestamps, values=values, quality=quality if any(quality) else [])


def _marked(
    place: int, rows: list[KeptRow], values: list[float], context: Context, marks: Marks
) -> Iterator[tuple[int, Quality]]:
    """Yields index and quality of each value of a column that a rule marks."""
    width = len(rows[0].sensors)
    sensor = rows[0].columns[place].sensor
    rules = TABLE.concerning(sensor, Phase.QUALITY)
    if not rules:
        return
    column = Numbers.of(sensor, values[place::width])
    for rule in rules:
        if not rule.may_apply(column, context):
            continue
        hits = [index for index, number in enumerate(column.numbers) if rule.applies(number, sensor)]
        marks.add([Mark(rows[index].place, place, rule.id, sensor, rows[index].timestamp) for index in hits])
        yield from ((index * width + place, rule.quality) for index in hits)
