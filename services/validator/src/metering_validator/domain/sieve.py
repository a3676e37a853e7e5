"""Sorts the values of a measure into those that go on and those that are refused or not taken."""

from collections import Counter
from typing import NamedTuple, TypeGuard

from metering_validator.domain.context import Context
from metering_validator.domain.names import NameColumn, Names, RuleIds
from metering_validator.domain.received import Cells
from metering_validator.domain.refusals import MomentCame, Refusals, Refused


class ColumnPlan(NamedTuple):
    """What becomes of the values under one name, as far as name, device and time decide."""

    column: NameColumn
    number: Refused | None
    """Where a finite number is refused."""
    other: Refused | None
    """Where anything else is refused; None for what is not taken."""


class Order(NamedTuple):
    """The plans of a measure's values, for all measures with the same names."""

    plans: tuple[ColumnPlan, ...]
    kept: tuple[int, ...]
    """Places of the values that go on if they are finite numbers."""
    columns: tuple[NameColumn, ...]
    """The columns of these."""
    refused: tuple[Refused | None, ...]
    """Where each value is refused if it is a finite number; empty where none is."""
    not_taken: tuple[int, ...]
    """The ids of the sensors whose values are left out."""
    is_plain: bool
    """Whether all finite numbers go on and need not be asked about."""
    is_asked: bool
    """Whether a rule of the phase VALUE concerns a sensor here."""


class Sifted(NamedTuple):
    """What goes on of a measure."""

    columns: tuple[NameColumn, ...]
    numbers: list[float]
    places: tuple[int, ...]


class Sieve:
    """Serves all measures of a record that the same rules about device and time refuse (mostly none)."""

    def __init__(
        self, everywhere: RuleIds, names: Names, refusals: Refusals, not_taken: Counter[int], context: Context
    ) -> None:
        self._everywhere = everywhere
        self._names = names
        self._refusals = refusals
        self._not_taken = not_taken
        self._context = context
        self._plans: dict[NameColumn, ColumnPlan] = {}
        self._orders: dict[tuple[str | None, ...], Order] = {}

    def sift(self, cells: Cells, moment: MomentCame) -> Sifted:
        """Refuses and counts what is to be; returns the rest."""
        order = self._orders.get(cells.names)
        if order is None:
            order = self._orders[cells.names] = self._make_order(cells.names)
        numbers = cells.numbers
        if order.not_taken:
            self._not_taken.update(order.not_taken)
        if order.is_asked:
            return self._sift_each(order, cells, moment)
        if not _all_numbers(numbers):
            return self._sift_without(order, cells, moment)
        if order.is_plain:
            return Sifted(order.columns, numbers, order.kept)
        if order.refused:
            self._refusals.add_all(order.refused, moment, cells)
        return Sifted(order.columns, [numbers[place] for place in order.kept], order.kept)

    def _sift_without(self, order: Order, cells: Cells, moment: MomentCame) -> Sifted:
        """The same where some values are no numbers."""
        numbers = cells.numbers
        hits = [
            plan.other if number is None else plan.number for number, plan in zip(numbers, order.plans, strict=True)
        ]
        self._refusals.add_all(hits, moment, cells)
        kept = tuple([place for place in order.kept if numbers[place] is not None])
        left = [number for place in kept if (number := numbers[place]) is not None]
        return Sifted(tuple([order.plans[place].column for place in kept]), left, kept)

    def _sift_each(self, order: Order, cells: Cells, moment: MomentCame) -> Sifted:
        """The same where a rule is to be asked about single numbers."""
        hits, kept = [], []
        for place, (number, plan) in enumerate(zip(cells.numbers, order.plans, strict=True)):
            hit = plan.other if number is None else plan.number
            if number is not None and plan.column.rules and not plan.column.not_taken:
                hit = self._ask(plan.column, number, hit)
            hits.append(hit)
            if number is not None and hit is None and plan.other is not None:
                kept.append(place)
        self._refusals.add_all(hits, moment, cells)
        left = [number for place in kept if (number := cells.numbers[place]) is not None]
        return Sifted(tuple([order.plans[place].column for place in kept]), left, tuple(kept))

    def _ask(self, column: NameColumn, number: float, refused: Refused | None) -> Refused | None:
        named, context = column.named, self._context
        found = tuple([rule.id for rule in column.rules if rule.applies(named, number, None, context)])
        return self._refused(column, self._everywhere + column.refused_by + found) if found else refused

    def _make_order(self, names: tuple[str | None, ...]) -> Order:
        columns, known = self._names.columns(names), self._plans
        plans = tuple([known.get(column) or self._make_plan(column) for column in columns])
        kept = tuple([place for place, plan in enumerate(plans) if plan.number is None and plan.other is not None])
        return Order(
            plans,
            kept,
            tuple([columns[place] for place in kept]),
            tuple([plan.number for plan in plans]) if any(plan.number for plan in plans) else (),
            tuple([column.sensor.id for column in columns if column.not_taken]),
            is_plain=len(kept) == len(names),
            is_asked=any(column.rules for column in set(columns)),
        )

    def _make_plan(self, column: NameColumn) -> ColumnPlan:
        if column.not_taken:
            plan = ColumnPlan(column, None, None)
        else:
            number = self._refused(column, self._everywhere + column.refused_by)
            plan = ColumnPlan(column, number, self._refused(column, self._everywhere + column.refused_without_number))
        self._plans[column] = plan
        return plan

    def _refused(self, column: NameColumn, rule_ids: RuleIds) -> Refused | None:
        return self._refusals.under(column, rule_ids) if rule_ids else None


def _all_numbers(numbers: list[float | None]) -> TypeGuard[list[float]]:
    return None not in numbers
