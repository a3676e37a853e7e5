"""Keeps refused values as the validated record shows them: grouped by sensor and rule, each as it came, within bounds.

The first values of each of the first groups are looked at, all others are only counted: the price of a refused value
must not grow with what a sender makes of it.
"""

from collections import Counter

import msgspec

from metering_common.contract.messages import (
    MAX_OUTCOME_FINDINGS,
    MAX_REFUSAL_GROUPS,
    Finding,
    FindingKind,
    RawValue,
    Refusal,
)
from metering_validator.domain.context import MILLISECONDS_FROM
from metering_validator.domain.json_text import Json, escaped, integer, json_text
from metering_validator.domain.names import NameColumn, RuleIds
from metering_validator.domain.result import finding

MAX_SAMPLES = 3
"""Raw values kept per group."""


class Came:
    """The timestamp of a measure as it came, for its refused values."""

    __slots__ = ("at", "timestamp")

    def __init__(self, timestamp: Json) -> None:
        self.timestamp = timestamp
        self.at = readable_time(timestamp)

    def shown(self) -> int | str:
        """Returns Unix seconds where they can be read, else what came."""
        return self.at if self.at is not None else json_text(self.timestamp)


class _Group(msgspec.Struct):
    """The values under one name that one rule refused."""

    rule: str
    name: str
    sensor: int | None
    count: int = 0
    first_at: int | None = None
    last_at: int | None = None
    samples: list[RawValue] = []


class Refusals:
    """Grows while a record is validated. `values` counts values, `per_rule` and the groups count findings."""

    def __init__(self, device_number: str) -> None:
        self.values = 0
        self.beyond = 0
        self.findings: list[Finding] = []
        self._device_number = device_number
        self._groups: dict[tuple[int | None, str, str], _Group] = {}
        self._targets: dict[tuple[NameColumn, RuleIds], list[_Group]] = {}
        self._per_rules: dict[RuleIds, int] = {}
        self._noted: Counter[FindingKind] = Counter()

    def add(self, column: NameColumn, rule_ids: RuleIds, moment: Came, came: Json) -> None:
        """Adds one value, refused by these rules."""
        self.values += 1
        self._per_rules[rule_ids] = self._per_rules.get(rule_ids, 0) + 1
        groups = self._targets.get((column, rule_ids))
        if groups is None:
            groups = self._open(column, rule_ids)
        for group in groups:
            group.count += 1
            self._date(group, moment)
            if len(group.samples) < MAX_SAMPLES:
                group.samples.append(RawValue(timestamp=json_text(moment.timestamp), value=json_text(came)))
        self.beyond += len(rule_ids) - len(groups)
        if self._noted[FindingKind.REFUSED] < MAX_OUTCOME_FINDINGS:
            for rule_id in rule_ids:
                self.note(rule_id, FindingKind.REFUSED, column.shown, moment.shown())

    def count(self, rule_ids: RuleIds, values: int, moment: Came) -> None:
        """Adds so many values that were not looked at: under no name, without samples."""
        if not values:
            return
        self.values += values
        self._per_rules[rule_ids] = self._per_rules.get(rule_ids, 0) + values
        for rule_id in rule_ids:
            group = self._group(None, "", rule_id)
            if group is None:
                self.beyond += values
            else:
                group.count += values
                self._date(group, moment)
            self.note(rule_id, FindingKind.REFUSED, None, moment.shown())

    def note(self, rule_id: str, kind: FindingKind, sensor: str | None, timestamp: int | str | None) -> None:
        """Adds a finding for the outcome, while there is room for more of its kind."""
        if self._noted[kind] < MAX_OUTCOME_FINDINGS:
            self._noted[kind] += 1
            self.findings.append(finding(rule_id, kind, self._device_number, timestamp, sensor))

    def per_rule(self) -> dict[str, int]:
        """Returns how many values each rule refused, in the order of the rules' IDs."""
        counts: Counter[str] = Counter()
        for rule_ids, values in self._per_rules.items():
            counts.update(dict.fromkeys(rule_ids, values))
        return dict(sorted(counts.items()))

    def groups(self) -> list[Refusal]:
        """Returns the groups in the order in which they were first met."""
        return [
            Refusal(
                rule=group.rule,
                name=group.name,
                sensor=group.sensor,
                count=group.count,
                first_at=group.first_at,
                last_at=group.last_at,
                samples=group.samples,
            )
            for group in self._groups.values()
        ]

    def _open(self, column: NameColumn, rule_ids: RuleIds) -> list[_Group]:
        """The groups of these rules, without those for which there is no room."""
        sensor = column.named.sensor
        shown = column.shown or ""
        found = [self._group(None if sensor is None else sensor.id, shown, rule_id) for rule_id in rule_ids]
        groups = [group for group in found if group is not None]
        self._targets[column, rule_ids] = groups
        return groups

    def _group(self, sensor: int | None, shown: str, rule_id: str) -> _Group | None:
        key = sensor, shown, rule_id
        group = self._groups.get(key)
        if group is None and len(self._groups) < MAX_REFUSAL_GROUPS:
            group = self._groups[key] = _Group(rule_id, escaped(shown), sensor)
        return group

    @staticmethod
    def _date(group: _Group, moment: Came) -> None:
        at = moment.at
        if at is not None:
            group.first_at = at if group.first_at is None or at < group.first_at else group.first_at
            group.last_at = at if group.last_at is None or at > group.last_at else group.last_at


def readable_time(moment_came: Json) -> int | None:
    """Returns Unix seconds where what came is an integer from 1970 on that does not look like milliseconds."""
    timestamp = integer(moment_came)
    return timestamp if timestamp is not None and 0 <= timestamp < MILLISECONDS_FROM else None
