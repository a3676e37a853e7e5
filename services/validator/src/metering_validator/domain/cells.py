"""The other way of validation: each name, moment and value is held against every rule, and all that is wrong is said.

Names are looked up once per order of names in a record, and a value is asked about only where it is no number or a
rule concerns its sensor, so that a value costs at most three times as much as in `columns`.
"""

from collections import Counter
from typing import Any

from metering_common.contract.messages import Counts, FindingKind, NotTaken, Quality, Rows
from metering_validator.domain.context import Context
from metering_validator.domain.json_text import integer
from metering_validator.domain.kept import KeptRow, Marks, blocks_of
from metering_validator.domain.names import Names, RuleIds
from metering_validator.domain.received import ReceivedElement, ReceivedMeasure
from metering_validator.domain.refusals import MomentCame, Refusals
from metering_validator.domain.repeats import keep_the_last
from metering_validator.domain.result import Account, Result, result
from metering_validator.domain.rule_table import Effect, Moment, Phase, Rule, Times
from metering_validator.domain.rules import TABLE
from metering_validator.domain.sieve import Sieve

_REFUSING_DEVICES = TABLE.of(Phase.DEVICE, Effect.REFUSED)
_MARKING_DEVICES = TABLE.of(Phase.DEVICE, Effect.KEPT)
_TIME = TABLE.of(Phase.TIME, Effect.REFUSED)
_COUNTING = TABLE.of(Phase.TIME, Effect.COUNTED)


def validate_by_cells(element: ReceivedElement, context: Context) -> Result:
    """Returns the result on any readable record."""
    return _Record(element, context).result()


class _Record:
    """One record on its way: what is refused and left out is counted, what is left goes on in rows."""

    def __init__(self, element: ReceivedElement, context: Context) -> None:
        self._element = element
        self._context = context
        self._refusals = Refusals(element.device_number)
        self._not_taken: Counter[int] = Counter()
        self._marks = Marks()
        self._values = 0
        self._device_ids = tuple(rule.id for rule in _REFUSING_DEVICES if rule.applies(context))
        self._names = Names(context, device_refused=bool(self._device_ids))
        self._sieves: dict[RuleIds, Sieve] = {}

    def result(self) -> Result:
        rows, repeated = keep_the_last(self._sift(), self._refusals, self._context)
        accepted = sum([len(row.numbers) for row in rows])
        blocks = self._blocks(rows)
        account = Account(
            counts=self._counts(accepted, repeated),
            rows=blocks,
            refusals=self._refusals.groups(),
            refusals_beyond=self._refusals.beyond,
            not_taken=[NotTaken(sensor=sensor, count=count) for sensor, count in self._not_taken.items()],
            findings=self._refusals.findings,
            refused_per_rule=self._refusals.per_rule(),
            marked_per_rule=dict(self._marks.per_rule),
        )
        return result(account, self._element.device_number, self._context)

    def _counts(self, accepted: int, repeated: int) -> Counts:
        return Counts(
            measures=len(self._element.measures),
            values=self._values,
            accepted=accepted,
            refused=self._refusals.values,
            not_taken=self._not_taken.total(),
            repeated=repeated,
        )

    def _sift(self) -> list[KeptRow]:
        """First every rule that sees a value by itself."""
        times = [integer(measure.timestamp) for measure in self._element.measures]
        ordinary = self._are_ordinary(times)
        newest = None if ordinary else self._newest(times)
        rows = []
        for place, (measure, timestamp) in enumerate(zip(self._element.measures, times, strict=True)):
            size = self._size(measure)
            self._values += size
            moment = Moment(place, timestamp, newest, self._values)
            counted = self._about(_COUNTING, moment)
            if counted:
                self._refusals.add_unseen(counted, size, MomentCame(measure.timestamp, timestamp))
                continue
            rows.append(self._row(measure, moment, () if ordinary else self._about(_TIME, moment)))
        return rows

    def _are_ordinary(self, times: list[int | None]) -> bool:
        """Whether no rule about the time may apply to any measure."""
        known = [timestamp for timestamp in times if timestamp is not None]
        if len(known) < len(times) or not times:
            return False
        column = Times(min(known), max(known), len(known), self._element.at_most)
        return not any(rule.may_apply(column, self._context) for rule in _TIME)

    def _newest(self, times: list[int | None]) -> int | None:
        """The latest timestamp that no rule refuses for itself: there the day ends that a record may span."""
        return max([time for time in times if time is not None and not self._about(_TIME, _alone(time))], default=None)

    def _about(self, rules: tuple[Rule[Any], ...], moment: Moment) -> RuleIds:
        return tuple([rule.id for rule in rules if rule.applies(moment, self._context)])

    def _size(self, measure: ReceivedMeasure) -> int:
        """Reads the measure if it is sure to be looked at; what may be too much is only counted."""
        limit = self._context.limits.max_values
        if self._element.at_most <= limit or self._values + measure.at_most() <= limit:
            return len(measure.cells().names)
        return measure.size()

    def _row(self, measure: ReceivedMeasure, moment: Moment, time_ids: RuleIds) -> KeptRow:
        """What is left of a measure."""
        everywhere = self._device_ids + time_ids
        sieve = self._sieves.get(everywhere)
        if sieve is None:
            sieve = Sieve(everywhere, self._names, self._refusals, self._not_taken, self._context)
            self._sieves[everywhere] = sieve
        cells, came = measure.cells(), MomentCame(measure.timestamp, moment.timestamp)
        return KeptRow(moment.place, moment.timestamp or 0, *sieve.sift(cells, came), cells, came)

    def _blocks(self, rows: list[KeptRow]) -> list[Rows]:
        """Last the rules that mark what is kept."""
        floor = self._floor() if any(row.numbers for row in rows) else Quality.GOOD
        blocks = blocks_of(rows, floor, self._context, self._marks)
        for mark in self._marks.first():
            self._refusals.note(mark.rule, FindingKind.QUALITY, mark.sensor.name, mark.timestamp)
        return blocks

    def _floor(self) -> Quality:
        """The best quality that a value of this record may have."""
        floor = Quality.GOOD
        for rule in _MARKING_DEVICES:
            if rule.applies(self._context):
                floor = max(floor, rule.quality)
                self._marks.per_rule[rule.id] += 1
                self._refusals.note(rule.id, FindingKind.QUALITY, None, None)
        return floor


def _alone(timestamp: int) -> Moment:
    return Moment(place=0, timestamp=timestamp, newest=None, values=0)
