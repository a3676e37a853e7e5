"""The quick way of validation: a record in which nothing is wrong is validated by columns, not value by value.

It takes only records that the rule-by-rule way would accept with every value good (or not taken), and then says the
same to the byte (held by a property test). At the first sign of anything else it gives up and says None.
"""

from collections import Counter
from collections.abc import Sequence

from metering_common.contract.messages import Counts, NotTaken, Rows
from metering_validator.domain.context import Context
from metering_validator.domain.dictionary import Plan, RangeCheck
from metering_validator.domain.measures import CleanMeasure
from metering_validator.domain.result import Account, Result, result
from metering_validator.domain.rules import QUALITY_RULES, clock_doubtful, device_inactive, device_unknown


def validate_by_columns(value: bytes, context: Context) -> Result | None:
    """The result on a clean record, None on any other."""
    if context.device is None or clock_doubtful.applies(context):
        return None
    if device_unknown.applies(context) or device_inactive.applies(context):
        return None
    element = context.dictionary.reader.read(value)
    if element is None or not _times_are_good(element.measures, context):
        return None
    blocks = _Blocks()
    for measure in element.measures:
        if not _take(measure, context, blocks):
            return None
    if not blocks.are_plausible():
        return None
    return result(blocks.account(len(element.measures)), element.device_number, context)


def _times_are_good(measures: Sequence[CleanMeasure[str]], context: Context) -> bool:
    """All within the window and ingest-api's limits, and no two alike."""
    if len(measures) > context.limits.max_measures:
        return False
    times = [measure.timestamp for measure in measures]
    if not times:
        return True
    first, last = min(times), max(times)
    if first < context.earliest or last > context.latest or last - first > context.limits.max_span_seconds:
        return False
    return len(set(times)) == len(times)


def _take(measure: CleanMeasure[str], context: Context, blocks: "_Blocks") -> bool:
    values = measure.sensor_values
    names = tuple([value.sensor_name for value in values])  # a list first: twice as quick as from a generator
    device = context.device
    plan = None if device is None else context.dictionary.plan(names, device.sensors)
    if plan is None:
        return False
    numbers = [value.sensor_value for value in values]
    blocks.add(plan, measure.timestamp, numbers)
    return True


class _Blocks:
    """The columns as they grow, one block per order of sensors."""

    def __init__(self) -> None:
        self._rows: dict[tuple[int, ...], Rows] = {}
        self._checks: dict[tuple[int, ...], tuple[RangeCheck, ...]] = {}
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

    def are_plausible(self) -> bool:
        """Whether the least and the greatest of each checked column pass: then all between them do."""
        for sensors, checks in self._checks.items():
            rows = self._rows[sensors]
            for column, sensor in checks:
                cells = rows.values[column :: len(sensors)]
                if any(rule(number, sensor) for rule in QUALITY_RULES for number in (min(cells), max(cells))):
                    return False
        return True

    def account(self, measures: int) -> Account:
        not_taken = self._not_taken.total()
        counts = Counts(measures=measures, values=self._values, accepted=self._values - not_taken, not_taken=not_taken)
        left_out = [NotTaken(sensor=sensor, count=count) for sensor, count in self._not_taken.items()]
        return Account(counts, list(self._rows.values()), not_taken=left_out)
