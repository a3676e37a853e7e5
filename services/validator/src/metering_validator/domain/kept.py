"""Puts what is kept into blocks of columns and marks the values whose quality is not good."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from metering_common.contract.messages import MAX_OUTCOME_FINDINGS, Quality, Rows
from metering_common.registry.documents import Sensor
from metering_validator.domain.context import Context
from metering_validator.domain.names import NameColumn
from metering_validator.domain.received import Cells
from metering_validator.domain.refusals import MomentCame
from metering_validator.domain.rule_table import Numbers, Phase, Rule
from metering_validator.domain.rules import TABLE


class KeptRow(NamedTuple):
    """The values of a measure that no rule refuses."""

    place: int
    """Which measure of the record it is."""
    timestamp: int
    columns: tuple[NameColumn, ...]
    numbers: list[float]
    places: tuple[int, ...]
    """Where the values stand in the measure."""
    cells: Cells
    came: MomentCame


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

    def add(self, rule: str, hits: list[int], place: int, rows: list[KeptRow]) -> None:
        """Adds the rows of a column that one rule marks, in the order of the document."""
        if hits:
            self.per_rule[rule] += len(hits)
            sensor = rows[0].columns[place].sensor
            self._first += [
                Mark(rows[index].place, place, rule, sensor, rows[index].timestamp)
                for index in hits[:MAX_OUTCOME_FINDINGS]
            ]

    def first(self) -> list[Mark]:
        """Returns the first marks of the document, as many as an outcome has room for."""
        return sorted(self._first, key=lambda mark: mark[:3])[:MAX_OUTCOME_FINDINGS]


def blocks_of(rows: list[KeptRow], floor: Quality, context: Context, marks: Marks) -> list[Rows]:
    """Rows with the same sensors in one order share a block. No value is better than `floor`."""
    blocks: dict[tuple[NameColumn, ...], list[KeptRow]] = {}
    for row in rows:
        if row.numbers:
            blocks.setdefault(row.columns, []).append(row)
    return [_block(columns, rows, floor, context, marks) for columns, rows in blocks.items()]


def _block(
    columns: tuple[NameColumn, ...], rows: list[KeptRow], floor: Quality, context: Context, marks: Marks
) -> Rows:
    values: list[float] = []
    for row in rows:
        values += row.numbers
    quality = [int(floor)] * len(values)
    for place in range(len(columns)):
        for rule, hits in _marked(place, rows, values, context):
            marks.add(rule.id, hits, place, rows)
            for index in hits:
                value_at = index * len(columns) + place
                quality[value_at] = max(quality[value_at], rule.quality)
    return Rows(
        sensors=tuple([column.sensor.id for column in columns]),
        timestamps=[row.timestamp for row in rows],
        values=values,
        quality=quality if any(quality) else [],
    )


def _marked(
    place: int, rows: list[KeptRow], values: list[float], context: Context
) -> Iterator[tuple[Rule[Any], list[int]]]:
    """Yields each rule that marks values of a column, and the rows in which these stand."""
    columns = rows[0].columns
    sensor = columns[place].sensor
    rules = TABLE.concerning(sensor, Phase.QUALITY)
    if not rules:
        return
    column = Numbers.of(sensor, values[place :: len(columns)])
    for rule in rules:
        if rule.may_apply(column, context):
            applies = rule.applies
            yield rule, [index for index, number in enumerate(column.numbers) if applies(number, sensor)]
