"""Looks up the names of a record's measures: each distinct name and each distinct order of names once."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from metering_common.registry.documents import Sensor
from metering_validator.domain.context import Context
from metering_validator.domain.rule_table import Effect, Named, Phase, Rule
from metering_validator.domain.rules import TABLE

_REFUSING = TABLE.of(Phase.SENSOR, Effect.REFUSED)
_LEAVING_OUT = TABLE.of(Phase.SENSOR, Effect.NOT_TAKEN)

RuleIds = tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NameColumn:
    """What holds for all values under one name; compared by identity."""

    named: Named
    refused_by: RuleIds
    not_taken: bool
    rules: tuple[Rule[Any], ...]
    """The rules of the phase VALUE that may apply to a finite number here."""

    @property
    def shown(self) -> str | None:
        """The dictionary's name of the sensor, else what came; None where no name came."""
        return self.named.name if self.named.sensor is None else self.named.sensor.name

    @property
    def sensor(self) -> Sensor:
        """The sensor; only a name that no rule refuses is sure to have one."""
        assert self.named.sensor is not None
        return self.named.sensor


class NameOrder(NamedTuple):
    """The names of a measure in their order."""

    columns: tuple[NameColumn, ...]
    sensors: tuple[int, ...] | None
    """The sensors' ids where every name is taken and no value needs to be asked about unless it is no number."""


class Names:
    """Lives as long as one record is validated, since what it remembers is what a sender wrote."""

    def __init__(self, context: Context, *, device_refused: bool) -> None:
        self._context = context
        self._device_refused = device_refused
        self._columns: dict[str | None, NameColumn] = {}
        self._orders: dict[tuple[str | None, ...], NameOrder] = {}

    def order(self, names: tuple[str | None, ...]) -> NameOrder:
        """Returns the columns of a measure with these names."""
        found = self._orders.get(names)
        if found is None:
            found = self._orders[names] = self._make_order(names)
        return found

    def _make_order(self, names: tuple[str | None, ...]) -> NameOrder:
        columns = tuple([self._columns.get(name) or self._make_column(name) for name in names])
        plain = not any(column.refused_by or column.not_taken or column.rules for column in columns)
        return NameOrder(columns, tuple([column.sensor.id for column in columns]) if plain else None)

    def _make_column(self, name: str | None) -> NameColumn:
        context = self._context
        named = Named(name, None if name is None else context.dictionary.find(name))
        made = self._columns[name] = NameColumn(
            named,
            tuple([rule.id for rule in _REFUSING if rule.applies(named, context)]),
            not self._device_refused and any(rule.applies(named, context) for rule in _LEAVING_OUT),
            () if named.sensor is None else TABLE.concerning(named.sensor, Phase.VALUE),
        )
        return made
