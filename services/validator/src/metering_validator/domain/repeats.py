"""Decides between the values that one record has for the same sensor and timestamp: the last one counts."""

from metering_validator.domain.context import Context
from metering_validator.domain.kept import KeptRow
from metering_validator.domain.names import RuleIds
from metering_validator.domain.refusals import Came, Refusals
from metering_validator.domain.rule_table import Phase
from metering_validator.domain.rules import TABLE

_VALUE = TABLE.of(Phase.VALUE)

Place = tuple[int, int]
"""Index of the row and of the value within it."""


def keep_the_last(rows: list[KeptRow], refusals: Refusals, context: Context) -> tuple[list[KeptRow], int]:
    """Returns the rows without what has a later value, and how many values were repeated, that is equal to it.

    A value with a later one is held against the rules of the phase VALUE once more.
    """
    if not _may_repeat(rows):
        return rows, 0
    last = {
        (sensor, row.timestamp): (index, place)
        for index, row in enumerate(rows)
        for place, sensor in enumerate(row.sensors)
    }
    repeated, left = 0, []
    for index, row in enumerate(rows):
        beaten = {}
        for place, sensor in enumerate(row.sensors):
            winner = last[sensor, row.timestamp]
            if winner != (index, place):
                beaten[place] = rows[winner[0]].numbers[winner[1]]
        for place, later in beaten.items():
            rule_ids = _refused_by(row, place, later, context)
            if rule_ids:
                refusals.add(row.columns[place], rule_ids, Came(row.timestamp_came), row.came[place])
            else:
                repeated += 1
        left.append(_without(row, beaten) if beaten else row)
    return left, repeated


def _may_repeat(rows: list[KeptRow]) -> bool:
    times = [row.timestamp for row in rows if row.numbers]
    return len(set(times)) < len(times) or any(len(set(row.sensors)) < len(row.sensors) for row in rows)


def _refused_by(row: KeptRow, place: int, later: float, context: Context) -> RuleIds:
    named, number = row.columns[place].named, row.numbers[place]
    return tuple([rule.id for rule in _VALUE if rule.applies(named, number, later, context)])


def _without(row: KeptRow, beaten: dict[int, float]) -> KeptRow:
    kept = [place for place in range(len(row.sensors)) if place not in beaten]
    return row._replace(
        sensors=tuple([row.sensors[place] for place in kept]),
        columns=tuple([row.columns[place] for place in kept]),
        numbers=[row.numbers[place] for place in kept],
        came=[row.came[place] for place in kept],
    )
