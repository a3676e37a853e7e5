"""Refused values as the validated record keeps them: grouped by sensor and rule, each as it came, within bounds."""

from collections import Counter
from typing import NamedTuple

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
from metering_validator.domain.measures import Json, escaped, integer, json_text
from metering_validator.domain.result import finding
from metering_validator.domain.rules import Value

MAX_SAMPLES = 3
"""Raw values kept per group."""


class _Key(NamedTuple):
    sensor: int | None
    name: str
    rule: str


class _Group(msgspec.Struct):
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
        self._groups: dict[_Key, _Group] = {}
        self._per_rule: Counter[str] = Counter()
        self._noted: Counter[FindingKind] = Counter()

    def add(self, rule_ids: list[str], value: Value, moment_came: Json) -> None:
        """One value, refused by these rules."""
        self.values += 1
        self._per_rule.update(rule_ids)
        shown = value.sensor.name if value.sensor is not None else value.name or ""
        name = escaped(shown)
        at = readable_time(moment_came)
        for rule_id in rule_ids:
            self._add_to_group(_Key(value.sensor.id if value.sensor else None, name, rule_id), value, moment_came, at)
            self.note(
                rule_id, FindingKind.REFUSED, shown if value.name is not None else None, _shown_time(moment_came, at)
            )

    def note(self, rule_id: str, kind: FindingKind, sensor: str | None, timestamp: int | str | None) -> None:
        """A finding for the outcome, while there is room for more of its kind."""
        if self._noted[kind] < MAX_OUTCOME_FINDINGS:
            self._noted[kind] += 1
            self.findings.append(finding(rule_id, kind, self._device_number, timestamp, sensor))

    def per_rule(self) -> dict[str, int]:
        """How many values each rule refused, in the order of the rules' IDs."""
        return dict(sorted(self._per_rule.items()))

    def groups(self) -> list[Refusal]:
        """In the order in which they were first met."""
        return [
            Refusal(
                rule=key.rule,
                name=key.name,
                sensor=key.sensor,
                count=group.count,
                first_at=group.first_at,
                last_at=group.last_at,
                samples=group.samples,
            )
            for key, group in self._groups.items()
        ]

    def _add_to_group(self, key: _Key, value: Value, moment_came: Json, at: int | None) -> None:
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= MAX_REFUSAL_GROUPS:
                self.beyond += 1
                return
            group = self._groups[key] = _Group()
        group.count += 1
        if at is not None:
            group.first_at = at if group.first_at is None else min(group.first_at, at)
            group.last_at = at if group.last_at is None else max(group.last_at, at)
        if len(group.samples) < MAX_SAMPLES:
            group.samples.append(RawValue(timestamp=json_text(moment_came), value=json_text(value.came)))


def readable_time(moment_came: Json) -> int | None:
    """Unix seconds where what came is such a number: an integer from 1970 on that does not look like milliseconds."""
    timestamp = integer(moment_came)
    return timestamp if timestamp is not None and 0 <= timestamp < MILLISECONDS_FROM else None


def _shown_time(moment_came: Json, at: int | None) -> int | str:
    return at if at is not None else json_text(moment_came)
