"""The columnar way of validation: a record in which nothing is wrong is validated by columns, not value by value.

It takes only records that the other way (`cells`) would accept with every value good or not taken, and then returns
the same to the byte (held by a property test). It asks each rule of the table, and at the first "maybe" returns None.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from metering_common.contract.messages import Counts, NotTaken, Rows
from metering_common.registry.documents import Sensor
from metering_validator.domain.clean import CleanMeasure
from metering_validator.domain.context import Context
from metering_validator.domain.result import Account, Result, result
from metering_validator.domain.rule_table import Effect, Named, Numbers, Phase, Rule, Times
from metering_validator.domain.rules import TABLE

_DEVICE = TABLE.of(Phase.DEVICE)
_TIME = TABLE.of(Phase.TIME)
_REFUSING_NAMES = TABLE.of(Phase.SENSOR, Effect.REFUSED)
_LEAVING_OUT = TABLE.of(Phase.SENSOR, Effect.NOT_TAKEN)


class ColumnChecks(NamedTuple):
    """A column of a plan, and the rules that say something about the numbers of its sensor."""

    column: int
    sensor: Sensor
    rules: tuple[Rule[Any], ...]


class Plan(NamedTuple):
    """How the values of a measure with certain names are taken for a certain device list, by columns."""

    sensors: tuple[int, ...]
    """Dictionary ids of what is taken, in the order of the names."""
    pick: Callable[[list[float]], Sequence[float]] | None
    """From all values of a measure to those taken; None when all are taken."""
    not_taken: tuple[int, ...]
    checks: tuple[ColumnChecks, ...]
    values: int
    """How many values such a measure has."""


def validate_by_columns(value: bytes, context: Context) -> Result | None:
    """Returns the result on a clean record, None on any other."""
    if any(rule.applies(context) for rule in _DEVICE):
        return None
    element = context.dictionary.reader.read(value)
    if element is None or not _times_are_good(element.measures, context):
        return None
    blocks = _Blocks()
    for measure in element.measures:
        if not _take(measure, context, blocks):
            return None
    if not blocks.are_good(context):
        return None
    return result(blocks.account(len(element.measures)), element.device_number, context)


def _times_are_good(measures: Sequence[CleanMeasure[str]], context: Context) -> bool:
    """No rule may apply to the column of timestamps, in which none stands twice."""
    if not measures:
        return True
    times = [measure.timestamp for measure in measures]
    values = sum([len(measure.sensor_values) for measure in measures])
    column = Times(min(times), max(times), len(times), values)
    if any(rule.may_apply(column, context) for rule in _TIME):
        return False
    return len(set(times)) == len(times)


def _take(measure: CleanMeasure[str], context: Context, blocks: "_Blocks") -> bool:
    values = measure.sensor_values
    names = tuple([value.sensor_name for value in values])  # a list first: twice as quick as from a generator
    device_list = context.device.sensors if context.device is not None else ()
    plan: Plan | None = context.dictionary.plans.get(names, device_list, lambda names: _make_plan(names, context))
    if plan is None:
        return False
    numbers = [value.sensor_value for value in values]
    blocks.add(plan, measure.timestamp, numbers)
    return True


def _make_plan(names: tuple[str, ...], context: Context) -> Plan | None:
    """None when a name is refused or a sensor named twice."""
    named = [Named(has_name=True, sensor=context.dictionary.find(name)) for name in names]
    sensors = [one.sensor for one in named if one.sensor is not None]
    if len({sensor.id for sensor in sensors}) != len(names):
        return None
    if any(rule.applies(one, context) for rule in _REFUSING_NAMES for one in named):
        return None
    left_out = {index for index, one in enumerate(named) if any(rule.applies(one, context) for rule in _LEAVING_OUT)}
    taken = [index for index in range(len(names)) if index not in left_out]
    return Plan(
        sensors=tuple(sensors[index].id for index in taken),
        pick=_picker(taken) if left_out else None,
        not_taken=tuple(sensors[index].id for index in sorted(left_out)),
        checks=tuple(
            ColumnChecks(column, sensors[index], rules)
            for column, index in enumerate(taken)
            if (rules := TABLE.concerning(sensors[index], Phase.VALUE, Phase.QUALITY))
        ),
        values=len(names),
    )


class _Blocks:
    """The columns as they grow, one block per order of sensors."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, ...], Rows] = {}
        self._checks: dict[tuple[int, ...], tuple[ColumnChecks, ...]] = {}
        self._not_taken: Counter[int] = Counter()
        self._values = 0

    def add(self, plan: Plan, timestamp: int, numbers: list[float]) -> None:
        self._values += plan.values
        if plan.not_taken:
            self._not_taken.update(plan.not_taken)
        if not plan.sensors:
            return
        rows = self._rows.get(plan.sensors)
        if rows is None:
            rows = self._rows[plan.sensors] = Rows(sensors=plan.sensors, timestamps=[], values=[])
            self._checks[plan.sensors] = plan.checks
        rows.timestamps.append(timestamp)
        rows.values.extend(numbers if plan.pick is None else plan.pick(numbers))

    def are_good(self, context: Context) -> bool:
        """No rule may apply to a column of numbers."""
        for sensors, checks in self._checks.items():
            values = self._rows[sensors].values
            for place, sensor, rules in checks:
                column = Numbers.of(sensor, values[place :: len(sensors)])
                if any(rule.may_apply(column, context) for rule in rules):
                    return False
        return True

    def account(self, measures: int) -> Account:
        not_taken = self._not_taken.total()
        counts = Counts(measures=measures, values=self._values, accepted=self._values - not_taken, not_taken=not_taken)
        left_out = [NotTaken(sensor=sensor, count=count) for sensor, count in self._not_taken.items()]
        return Account(counts, list(self._rows.values()), not_taken=left_out)


def _picker(indexes: list[int]) -> Any:
    """`itemgetter` gives a bare value for one index and takes no empty list."""
    if len(indexes) > 1:
        return itemgetter(*indexes)
    return lambda values: [values[index] for index in indexes]
