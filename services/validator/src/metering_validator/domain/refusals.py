"""Keeps refused values as the validated record shows them: grouped by sensor and rule, each as it came, within bounds.

The first values of each of the first groups are looked at, all others are only counted: the price of a refused value
must not grow with what a sender makes of it.
"""

from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

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

    __slots__ = ("column", "groups", "rule_ids")

    def __init__(self, column: NameColumn | None, rule_ids: RuleIds) -> None:
        self.column = column
        self.rule_ids = rule_ids
        self.groups: list[_Group] | None = None
        """Those that there is room for; None until the first value is looked at."""


class Refusals:
    """Grows while a record is validated. `values` counts values, `per_rule` and the groups count findings."""

    def __init__(self, device_number: str) -> None:
        self.findings: list[Finding] = []
        self._device_number = device_number
        self._refused: dict[tuple[NameColumn | None, RuleIds], Refused] = {}
        self._groups: dict[tuple[int | None, str, str], _Group] = {}
        self._values: Counter[Refused] = Counter()
        self._times: list[tuple[int | None, list[Refused]]] = []
        self._wanting: set[Refused] = set()
        """Those whose samples or findings have room for more; the values of all others are only counted."""
        self._noted: Counter[FindingKind] = Counter()

    def under(self, column: NameColumn | None, rule_ids: RuleIds) -> Refused:
        """Returns where values under this name that these rules refuse are added; no column: not looked at."""
        key = column, rule_ids
        found = self._refused.get(key)
        if found is None:
            found = self._refused[key] = Refused(column, tuple(sorted(rule_ids)))
            self._wanting.add(found)
        return found

    def add(self, refused: Refused, moment: MomentCame, cells: Cells, place: int) -> None:
        """Adds one value."""
        self._count([refused], moment)
        if refused in self._wanting:
            self._look(refused, moment, cells, place)

    def add_all(self, hits: Sequence[Refused | None], moment: MomentCame, cells: Cells) -> None:
        """Adds the refused values of a measure, given for each of its values; None where it is not refused."""
        refused = [hit for hit in hits if hit is not None]
        self._count(refused, moment)
        if self._wanting and not self._wanting.isdisjoint(refused):
            for place, hit in enumerate(hits):
                if hit in self._wanting:
                    self._look(hit, moment, cells, place)

    def add_unseen(self, rule_ids: RuleIds, values: int, moment: MomentCame) -> None:
        """Adds so many values that were not looked at: under no name, without samples."""
        if values:
            refused = self.under(None, rule_ids)
            self._values[refused] += values
            self._times.append((moment.at, [refused]))
            self._wanting.discard(refused)
            if refused.groups is None:
                refused.groups = self._open(refused)
            for rule_id in rule_ids:
                self.note(rule_id, FindingKind.REFUSED, None, moment.shown())

    def _count(self, refused: list[Refused], moment: MomentCame) -> None:
        """In C, value for value; the times are put in order at the end."""
        self._values.update(refused)
        self._times.append((moment.at, refused))

    @property
    def values(self) -> int:
        """How many values are refused."""
        return self._values.total()

    @property
    def beyond(self) -> int:
        """How many findings have no room among the groups."""
        return sum([values * (len(one.rule_ids) - len(one.groups or ())) for one, values in self._values.items()])

    def note(self, rule_id: str, kind: FindingKind, sensor: str | None, timestamp: int | str | None) -> None:
        """Adds a finding for the outcome, while there is room for more of its kind."""
        if self._noted[kind] < MAX_OUTCOME_FINDINGS:
            self._noted[kind] += 1
            self.findings.append(finding(rule_id, kind, self._device_number, timestamp, sensor))

    def per_rule(self) -> dict[str, int]:
        """Returns how many values each rule refused, in the order of the rules' IDs."""
        counts: Counter[str] = Counter()
        for refused, values in self._values.items():
            counts.update(dict.fromkeys(refused.rule_ids, values))
        return dict(sorted(counts.items()))

    def groups(self) -> list[Refusal]:
        """Returns the groups in the order in which they were first met."""
        parts: dict[int, list[Refused]] = {}
        for refused in self._values:
            for group in refused.groups or ():
                parts.setdefault(id(group), []).append(refused)
        dated = sorted([(at, refused) for at, refused in self._times if at is not None], key=itemgetter(0))
        first, last = _latest(dated[::-1]), _latest(dated)
        return [self._refusal(group, parts[id(group)], first, last) for group in self._groups.values()]

    def _refusal(
        self, group: _Group, parts: list[Refused], first: dict[Refused, int], last: dict[Refused, int]
    ) -> Refusal:
        return Refusal(
            rule=group.rule,
            name=group.name,
            sensor=group.sensor,
            count=sum([self._values[part] for part in parts]),
            first_at=min([first[part] for part in parts if part in first], default=None),
            last_at=max([last[part] for part in parts if part in last], default=None),
            samples=group.samples,
        )

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
        elif not wanting:
            self._wanting.discard(refused)

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


def _latest(dated: list[tuple[int, list[Refused]]]) -> dict[Refused, int]:
    """For each the time that stands last in the list."""
    latest: dict[Refused, int] = {}
    for at, refused in dated:
        latest.update(dict.fromkeys(refused, at))
    return latest
