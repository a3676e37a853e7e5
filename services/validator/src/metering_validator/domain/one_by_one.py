"""The rule-by-rule way of validation: every value is held against every rule, and all that is wrong is said."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from metering_common.contract.messages import Counts, FindingKind, NotTaken, Quality, Rows
from metering_common.registry.documents import Sensor
from metering_validator.domain import rules
from metering_validator.domain.catalogue import Rule
from metering_validator.domain.context import Context
from metering_validator.domain.measures import Element, Json, Measure, finite_number, integer, named_value
from metering_validator.domain.refusals import Refusals
from metering_validator.domain.result import Account, Result, finding, result
from metering_validator.domain.rules import Moment, Value


class _Candidate(NamedTuple):
    """A value that no rule about the record, the moment or the value refuses."""

    place: int
    """Which measure of the record it stands in."""
    timestamp: int
    sensor: Sensor
    number: float
    value: Value
    moment_came: Json


def validate_one_by_one(element: Element, context: Context) -> Result:
    """The result on any readable record."""
    return _OneByOne(element, context).result()


class _OneByOne:
    def __init__(self, element: Element, context: Context) -> None:
        self._element = element
        self._context = context
        self._refusals = Refusals(element.device_number)
        self._not_taken: Counter[int] = Counter()
        self._marks: Counter[str] = Counter()
        self._repeated = 0
        self._values = 0

    def result(self) -> Result:
        candidates = self._sift()
        kept = self._last_ones(candidates)
        rows = self._rows(kept)
        account = Account(
            counts=self._counts(len(kept)),
            rows=rows,
            refusals=self._refusals.groups(),
            refusals_beyond=self._refusals.beyond,
            not_taken=[NotTaken(sensor=sensor, count=count) for sensor, count in self._not_taken.items()],
            findings=self._refusals.findings,
            refused_per_rule=self._refusals.per_rule(),
            marked_per_rule=dict(self._marks),
        )
        return result(account, self._element.device_number, self._context)

    def _counts(self, accepted: int) -> Counts:
        return Counts(
            measures=len(self._element.measures),
            values=self._values,
            accepted=accepted,
            refused=self._refusals.values,
            not_taken=self._not_taken.total(),
            repeated=self._repeated,
        )

    def _sift(self) -> list[_Candidate]:
        """First every rule that sees a value by itself."""
        about_record = [rule.id for rule in rules.RECORD_RULES if rule(self._context)]
        newest = _newest(self._element, self._context)
        candidates: list[_Candidate] = []
        for index, measure in enumerate(self._element.measures):
            moment = Moment(index, integer(measure.timestamp), newest)
            about_moment = [rule.id for rule in rules.MOMENT_RULES if rule(moment, self._context)]
            candidates.extend(self._sift_measure(measure, moment, about_record, about_moment))
        return candidates

    def _sift_measure(
        self, measure: Measure, moment: Moment, about_record: list[str], about_moment: list[str]
    ) -> Iterator[_Candidate]:
        context, not_on_list = self._context, rules.sensor_not_on_list.applies
        self._values += len(measure.sensor_values)
        for entry in measure.sensor_values:
            value = _value(entry, context)
            if not about_record and value.sensor is not None and not_on_list(value, context):
                self._not_taken[value.sensor.id] += 1
                continue
            about_value = [rule.id for rule in rules.VALUE_RULES if rule.applies(value, context)]
            wrong = [*about_record, *about_moment, *about_value]
            if wrong:
                self._refusals.add(sorted(wrong), value, measure.timestamp)
            elif value.sensor is not None and value.number is not None and moment.timestamp is not None:
                yield _Candidate(moment.place, moment.timestamp, value.sensor, value.number, value, measure.timestamp)

    def _last_ones(self, candidates: list[_Candidate]) -> list[_Candidate]:
        """Then the rule that sees the values for one sensor and timestamp beside each other: the last one counts."""
        last = {(candidate.sensor.id, candidate.timestamp): candidate for candidate in candidates}
        if len(last) == len(candidates):
            return candidates
        kept = []
        for candidate in candidates:
            winner = last[candidate.sensor.id, candidate.timestamp]
            if candidate is winner:
                kept.append(candidate)
            elif rules.superseded_in_record(candidate.number, winner.number):
                self._refusals.add([rules.superseded_in_record.id], candidate.value, candidate.moment_came)
            else:
                self._repeated += 1
        return kept

    def _rows(self, kept: list[_Candidate]) -> list[Rows]:
        """Last the rules that mark what is kept; measures that keep the same sensors in one order share a block."""
        floor = self._floor(bool(kept))
        blocks: dict[tuple[int, ...], Rows] = {}
        for measure in _by_measure(kept):
            sensors = tuple([candidate.sensor.id for candidate in measure])
            block = blocks.setdefault(sensors, Rows(sensors=sensors, timestamps=[], values=[], quality=[]))
            block.timestamps.append(measure[0].timestamp)
            block.values.extend([candidate.number for candidate in measure])
            block.quality.extend([max(floor, self._mark(candidate)) for candidate in measure])
        return [block if any(block.quality) else _all_good(block) for block in blocks.values()]

    def _floor(self, anything_kept: bool) -> Quality:  # noqa: FBT001  it is the only argument
        doubtful: Rule[[Context]] = rules.clock_doubtful
        if not anything_kept or not doubtful(self._context):
            return Quality.GOOD
        self._marks[doubtful.id] += 1
        self._refusals.findings.append(
            finding(doubtful.id, FindingKind.QUALITY, self._element.device_number, None, None)
        )
        return doubtful.quality

    def _mark(self, candidate: _Candidate) -> Quality:
        quality = Quality.GOOD
        for rule in rules.QUALITY_RULES:
            if rule.applies(candidate.number, candidate.sensor):
                quality = max(quality, rule.quality)
                self._marks[rule.id] += 1
                self._refusals.note(rule.id, FindingKind.QUALITY, candidate.sensor.name, candidate.timestamp)
        return quality


def _newest(element: Element, context: Context) -> int | None:
    """The latest timestamp that is within the window, where the day that a record may span ends."""
    times = [
        timestamp
        for index, measure in enumerate(element.measures)
        if (timestamp := integer(measure.timestamp)) is not None
        and not any(rule(Moment(index, timestamp, None), context) for rule in rules.WINDOW_RULES)
    ]
    return max(times, default=None)


def _value(entry: Json, context: Context) -> Value:
    name, came = named_value(entry)
    if name is None:
        return Value(None, None, None, entry)
    return Value(name, context.dictionary.find(name), finite_number(came), came)


def _by_measure(kept: list[_Candidate]) -> Iterator[list[_Candidate]]:
    measure: list[_Candidate] = []
    for candidate in kept:
        if measure and candidate.place != measure[0].place:
            yield measure
            measure = []
        measure.append(candidate)
    if measure:
        yield measure


def _all_good(block: Rows) -> Rows:
    return Rows(sensors=block.sensors, timestamps=block.timestamps, values=block.values)
