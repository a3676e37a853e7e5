"""Decides between the values that one record has for the same sensor and timestamp: the last one counts."""

from metering_validator.domain.context import Context
from metering_validator.domain.kept import KeptRow
from metering_validator.domain.names import NameColumn
from metering_validator.domain.refusals import Refusals
from metering_validator.domain.rule_table import Phase
from metering_validator.domain.rules import TABLE

_VALUE = TABLE.of(Phase.VALUE)


def keep_the_last(rows: list[KeptRow], refusals: Refusals, context: Context) -> tuple[list[KeptRow], int]:
    """Returns the rows without what has a later value, and how many values were repeated, that is equal to it.

    A value with a later one is held against the rules of the phase VALUE once more.
    """
    if not _may_repeat(rows):
        return rows, 0
    last = _last_values(rows)
    repeated, left = 0, []
    for index, row in enumerate(rows):
        owner, numbers = last[row.timestamp]
        places = dict(zip(row.columns, range(len(row.columns)), strict=True))
        beaten = [
            place for place, column in enumerate(row.columns) if owner[column] != index or places[column] != place
        ]
        for place in beaten:
            repeated += _is_repeated(row, place, numbers[row.columns[place]], refusals, context)
        left.append(_without(row, set(beaten)) if beaten else row)
    return left, repeated


Last = tuple[dict[NameColumn, int], dict[NameColumn, float]]
"""For each name the index of the row that has the last value, and that value."""


def _last_values(rows: list[KeptRow]) -> dict[int, Last]:
    """By timestamp."""
    last: dict[int, Last] = {}
    for index, row in enumerate(rows):
        owner, numbers = last.setdefault(row.timestamp, ({}, {}))
        owner.update(dict.fromkeys(row.columns, index))
        numbers.update(zip(row.columns, row.numbers, strict=True))
    return last


def _may_repeat(rows: list[KeptRow]) -> bool:
    times = [row.timestamp for row in rows if row.numbers]
    return len(set(times)) < len(times) or any(len(set(row.columns)) < len(row.columns) for row in rows)


def _is_repeated(row: KeptRow, place: int, later: float, refusals: Refusals, context: Context) -> bool:
    """Refuses the value if a rule applies to it and the later one."""
    column = row.columns[place]
    rule_ids = tuple([rule.id for rule in _VALUE if rule.applies(column.named, row.numbers[place], later, context)])
    if rule_ids:
        refusals.add(refusals.under(column, rule_ids), row.came, row.cells, row.places[place])
    return not rule_ids


def _without(row: KeptRow, beaten: set[int]) -> KeptRow:
    kept = [place for place in range(len(row.columns)) if place not in beaten]
    return row._replace(
        columns=tuple([row.columns[place] for place in kept]),
        numbers=[row.numbers[place] for place in kept],
        places=tuple([row.places[place] for place in kept]),
    )
