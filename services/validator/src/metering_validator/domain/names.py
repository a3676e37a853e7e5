"""Looks up the names of a record's measures: each distinct name once, and each distinct order of names once."""

from dataclasses import dataclass
from typing import Any

from metering_common.contract.messages import MAX_REFUSAL_GROUPS
from metering_common.registry.documents import Sensor
from metering_validator.domain.context import Context
from metering_validator.domain.rule_table import Effect, Named, Phase, Rule
from metering_validator.domain.rules import TABLE

_REFUSING = TABLE.of(Phase.SENSOR, Effect.REFUSED)
_LEAVING_OUT = TABLE.of(Phase.SENSOR, Effect.NOT_TAKEN)
_VALUE = TABLE.of(Phase.VALUE)

RuleIds = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NameColumn:
    """What holds for all values under one name; compared by identity."""

    named: Named
    shown: str | None
    """The dictionary's name of the sensor, else what came; None where no name came."""
    refused_by: RuleIds
    refused_without_number: RuleIds
    """What refuses a value here that is no finite number, `refused_by` among it."""
    not_taken: bool
    rules: tuple[Rule[Any], ...]
    """The rules of the phase VALUE that may apply to a finite number here."""
    is_grouped: bool = True
    """False for names beyond those that a validated record has room for: their values are only counted."""

    @property
    def sensor(self) -> Sensor:
        """The sensor; only a name that no rule refuses is sure to have one."""
        assert self.named.sensor is not None
        return self.named.sensor


class Names:
    """Lives as long as one record is validated, since what it remembers is what a sender wrote."""

    def __init__(self, context: Context, *, device_refused: bool) -> None:
        self._context = context
        self._device_refused = device_refused
        self._by_name: dict[str | None, NameColumn] = {None: self._make(None, None)}
        self._by_sensor: dict[int, NameColumn] = {}
        self._unknown = 0
        self._beyond = self._make("", None, is_grouped=False)

    def columns(self, names: tuple[str | None, ...]) -> tuple[NameColumn, ...]:
        """Returns the columns of a measure with these names."""
        known = self._by_name
        return tuple([known.get(name) or self._find(name) for name in names])

    def _find(self, name: str | None) -> NameColumn:
        sensor = None if name is None else self._context.dictionary.find(name)
        if sensor is None:
            self._unknown += 1
            if self._unknown > MAX_REFUSAL_GROUPS:
                return self._beyond
            column = self._make(name, None)
        else:
            column = self._by_sensor.get(sensor.id) or self._make(sensor.name, sensor)
            self._by_sensor[sensor.id] = column
        self._by_name[name] = column
        return column

    def _make(self, shown: str | None, sensor: Sensor | None, *, is_grouped: bool = True) -> NameColumn:
        context, named = self._context, Named(shown is not None, sensor)
        refused_by = tuple([rule.id for rule in _REFUSING if rule.applies(named, context)])
        return NameColumn(
            named,
            shown,
            refused_by,
            refused_by + tuple([rule.id for rule in _VALUE if rule.applies(named, None, None, context)]),
            not self._device_refused and any(rule.applies(named, context) for rule in _LEAVING_OUT),
            () if sensor is None else TABLE.concerning(sensor, Phase.VALUE),
            is_grouped,
        )
