"""Keeps refused values as the validated record shows them: grouped by sensor and rule, each as it came, within bounds.

The first values of each of the first groups are looked at, all others are only counted: the price of a refused value
must not grow with what a sender makes of it.
"""

from collections import Counter

import msgspec

from metering_common.contract.limits import MILLISECONDS_FROM
from metering_common.contract.messages import (
    MAX_OUTCOME_FINDINGS,
    MAX_REFUSAL_GROUPS,
    Finding,
    FindingKind,
    RawValue,
    Refusal,
)
from metering_validator.domain.json_text import Json, escaped, json_text
from metering_validator.domain.names import NameColumn, RuleIds
from metering_validator.domain.received import Cells
from metering_validator.domain.result import finding

MAX_SAMPLES = 3
"""Raw values kept per group."""


class MomentCame:
    """The timestamp of a measure as it came, for its refused values."""

    __slots__ = ("at", "came")

    def __init__(self, came: Json, timestamp: int | None) -> None:
        self.came = came
        self.at = timestamp if timestamp is not None and 0 <= timestamp < MILLISECONDS_FROM else None
        """Unix seconds: an integer from 1970 on that does not look like milliseconds."""

    def shown(self) -> int | str:
        """Returns Unix seconds where they can be read, else what came."""
        return self.at if self.at is not None else json_text(self.came)


class _Group(msgspec.Struct):
    """The values under one name that one rule refused."""

    rule: str
    name: str
    sensor: int | None
    samples: list[RawValue] = []


class Refused:
    """The values under one name that the same rules refused: counted here, and put into groups at the end."""

    __slots__ = ("column", "first_at", "groups", "is_seen_enough", "last_at", "rule_ids", "values")

    def __init__(self, column: NameColumn | None, rule_ids: RuleIds) -> None:
        self.column = column
        self.rule_ids = rule_ids
        self.groups: list[_Group] | None = None
        """Those that there is room for; None until the first value is looked at."""
        self.is_seen_enough = False
        """Whether samples and findings have no room for more: then values are only counted."""
        self.values = 0
        self.first_at: int | None = None
        self.last_at: int | None = None

    def count(self, values: int, at: int | None) -> None:
        """Adds so many values of one moment."""
        self.values += values
        if at is not None:
            if self.first_at is None or at < self.first_at:
                self.first_at = at
            if self.last_at is None or at > self.last_at:
                self.last_at = at


class Refusals:
    """Grows while a record is validated. `values` counts values, `per_rule` and the groups count findings."""

    def __init__(self, device_number: str) -> None:
        self.findings: list[Finding] = []
        self._device_number = device_number
        self._refused: dict[tuple[NameColumn | None, RuleIds], Refused] = {}
        self._groups: dict[tuple[int | None, str, str], _Group] = {}
        self._noted: Counter[FindingKind] = Counter()

    def under(self, column: NameColumn | None, rule_ids: RuleIds) -> Refused:
        """Returns where values under this name that these rules refuse are added; no column: not looked at."""
        key = column, rule_ids
        found = self._refused.get(key)
        if found is None:
            found = self._refused[key] = Refused(column, tuple(sorted(rule_ids)))
        return found

    def add(self, refused: Refused, moment: MomentCame, cells: Cells, place: int) -> None:
        """Adds one value."""
        refused.count(1, moment.at)
        if not refused.is_seen_enough:
            self._look(refused, moment, cells, place)

    def count(self, rule_ids: RuleIds, values: int, moment: MomentCame) -> None:
        """Adds so many values that were not looked at: under no name, without samples."""
        if values:
            refused = self.under(None, rule_ids)
            refused.count(values, moment.at)
            if refused.groups is None:
                refused.groups = self._open(refused)
            for rule_id in rule_ids:
                self.note(rule_id, FindingKind.REFUSED, None, moment.shown())

    @property
    def values(self) -> int:
        return sum([refused.values for refused in self._refused.values()])

    @property
    def beyond(self) -> int:
        """How many findings have no room among the groups."""
        return sum([one.values * (len(one.rule_ids) - len(one.groups or ())) for one in self._refused.values()])

    def note(self, rule_id: str, kind: FindingKind, sensor: str | None, timestamp: int | str | None) -> None:
        """Adds a finding for the outcome, while there is room for more of its kind."""
        if self._noted[kind] < MAX_OUTCOME_FINDINGS:
            self._noted[kind] += 1
            self.findings.append(finding(rule_id, kind, self._device_number, timestamp, sensor))

    def per_rule(self) -> dict[str, int]:
        """Returns how many values each rule refused, in the order of the rules' IDs."""
        counts: Counter[str] = Counter()
        for refused in self._refused.values():
            if refused.values:
                counts.update(dict.fromkeys(refused.rule_ids, refused.values))
        return dict(sorted(counts.items()))

    def groups(self) -> list[Refusal]:
        """Returns the groups in the order in which they were first met."""
        parts: dict[int, list[Refused]] = {}
        for refused in self._refused.values():
            for group in refused.groups or ():
                parts.setdefault(id(group), []).append(refused)
        return [_refusal(group, parts[id(group)]) for group in self._groups.values()]

    def _look(self, refused: Refused, moment: MomentCame, cells: Cells, place: int) -> None:
        if refused.groups is None:
            refused.groups = self._open(refused)
        wanting = [group for group in refused.groups if len(group.samples) < MAX_SAMPLES]
        if wanting:
            sample = RawValue(timestamp=json_text(moment.came), value=json_text(cells.came(place)))
            for group in wanting:
                group.samples.append(sample)
        if self._noted[FindingKind.REFUSED] < MAX_OUTCOME_FINDINGS:
            shown = None if refused.column is None else self._shown(refused.column, cells, place)
            for rule_id in refused.rule_ids:
                self.note(rule_id, FindingKind.REFUSED, shown, moment.shown())
        refused.is_seen_enough = not wanting and self._noted[FindingKind.REFUSED] >= MAX_OUTCOME_FINDINGS

    @staticmethod
    def _shown(column: NameColumn, cells: Cells, place: int) -> str | None:
        return column.shown if column.is_grouped else cells.names[place]

    def _open(self, refused: Refused) -> list[_Group]:
        column = refused.column
        if column is None:
            found = [self._group(None, "", rule_id) for rule_id in refused.rule_ids]
        elif not column.is_grouped:
            return []
        else:
            sensor, shown = column.named.sensor, column.shown or ""
            found = [self._group(sensor.id if sensor else None, shown, rule_id) for rule_id in refused.rule_ids]
        return [group for group in found if group is not None]

    def _group(self, sensor: int | None, shown: str, rule_id: str) -> _Group | None:
        """None where there is no room for it."""
        key = sensor, shown, rule_id
        group = self._groups.get(key)
        if group is None and len(self._groups) < MAX_REFUSAL_GROUPS:
            group = self._groups[key] = _Group(rule_id, escaped(shown), sensor)
        return group


def _refusal(group: _Group, parts: list[Refused]) -> Refusal:
    firsts = [part.first_at for part in parts if part.first_at is not None]
    lasts = [part.last_at for part in parts if part.last_at is not None]
    return Refusal(
        rule=group.rule,
        name=group.name,
        sensor=group.sensor,
        count=sum([part.values for part in parts]),
        first_at=min(firsts, default=None),
        last_at=max(lasts, default=None),
        samples=group.samples,
    )
