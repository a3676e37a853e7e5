"""Defines what a rule is, and the one table of rules that both ways of validation, the metrics and docs/rules.md read.

A rule is an ID, a code, a phase, a predicate about one thing of that phase, and a check of a whole column of them.
A *column* holds what is left when nothing is out of the ordinary: finite numbers of one known sensor at integer
timestamps, and no timestamp twice. The columnar way (`columns`) asks the checks and gives up at the first that says
"maybe"; the other way (`cells`) asks the predicates. So a check may say "maybe" too often, but never too seldom: a
property test holds this for every rule.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, NamedTuple, ParamSpec

from metering_common.contract.messages import Quality
from metering_common.registry.documents import Sensor
from metering_validator.domain.context import Context
from metering_validator.domain.examples import Example

P = ParamSpec("P")


class Phase(StrEnum):
    """Says what a rule is asked about, and so what its predicate is given. Phases follow each other in this order."""

    DEVICE = "device"
    """Once per record: `predicate(context)`."""
    SENSOR = "sensor"
    """Once per name: `predicate(named, context)`."""
    TIME = "time"
    """Once per measure: `predicate(moment, context)`."""
    VALUE = "value"
    """Each value: `predicate(named, number, later, context)`; `later` is the number that takes its place, if any."""
    QUALITY = "quality"
    """Each value that is kept: `predicate(number, sensor)`."""


class Effect(StrEnum):
    """Says what becomes of a value that a rule applies to."""

    REFUSED = "refused"
    COUNTED = "refused, only counted"
    NOT_TAKEN = "not taken"
    KEPT = "kept"


class Named(NamedTuple):
    """What is known of the name of an entry of `sensorValues`; the text itself is no rule's affair."""

    has_name: bool
    """Whether the entry is an object with a text for a name."""
    sensor: Sensor | None
    """What the dictionary knows under that name."""


class Moment(NamedTuple):
    """A measure's place, time and size as the rules see them."""

    place: int
    """Which measure of the record it is, from 0."""
    timestamp: int | None
    """None where what came is no integer."""
    newest: int | None
    """The latest timestamp of the record that no rule refuses for itself."""
    values: int
    """How many values the record has up to the end of this measure."""


class Times(NamedTuple):
    """A column of timestamps: its ends, and how many measures and values there are."""

    first: int
    last: int
    measures: int
    values: int


class Numbers(NamedTuple):
    """A column of values of one sensor, none of them NaN or infinite; at least one."""

    sensor: Sensor
    numbers: Sequence[float]
    least: float
    greatest: float

    @classmethod
    def of(cls, sensor: Sensor, numbers: Sequence[float]) -> "Numbers":
        return cls(sensor, numbers, min(numbers), max(numbers))


ColumnCheck = Callable[[Any, Context], bool]
"""Whether the rule may apply anywhere in a column: `Times` in the phase TIME, `Numbers` in VALUE and QUALITY."""


def gives_up(_column: Any, _context: Context) -> bool:
    """Columns are not validated where this rule might apply (`concerns` says to which sensors): each value is asked."""
    return True


def not_in_columns(_column: Any, _context: Context) -> bool:
    """What the rule is about never stands in a column (see the definition above)."""
    return False


def asked_once(_column: Any, _context: Context) -> bool:
    """For DEVICE and SENSOR: a record has one device and a column one name, so both ways ask the predicate itself."""
    raise TypeError("the predicate is asked, not the column")


def everything(_sensor: Sensor) -> bool:
    """The rule may concern any sensor."""
    return True


@dataclass(frozen=True, slots=True)
class Rule(Generic[P]):
    """One sentence of validation. Metrics, refusals and docs/rules.md share its `id`; `code` never changes either."""

    id: str
    code: str
    phase: Phase
    effect: Effect
    quality: Quality
    english: str
    spanish: str
    source: str
    applies: Callable[P, bool]
    may_apply: ColumnCheck
    concerns: Callable[[Sensor], bool]
    """VALUE and QUALITY: the sensors whose columns are checked at all."""
    applies_to: tuple[Example, ...]
    passes: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class RuleTable:
    """All rules, in the order of their IDs."""

    _rules: dict[str, Rule[Any]] = field(default_factory=dict)

    def enter(self, rule: Rule[Any]) -> None:
        """Raises ValueError for an ID or a code that is given twice."""
        if any(rule.id == other.id or rule.code == other.code for other in self):
            raise ValueError(f"{rule.id} or {rule.code} is given twice")
        self._rules[rule.id] = rule

    def __iter__(self) -> Any:
        return iter(sorted(self._rules.values(), key=lambda rule: rule.id))

    def __getitem__(self, rule_id: str) -> Rule[Any]:
        return self._rules[rule_id]

    def of(self, phase: Phase, *effects: Effect) -> tuple[Rule[Any], ...]:
        """The rules of a phase, or those of them that have one of these effects."""
        return tuple(rule for rule in self if rule.phase is phase and (not effects or rule.effect in effects))

    def concerning(self, sensor: Sensor, *phases: Phase) -> tuple[Rule[Any], ...]:
        """The rules of these phases that may apply to a finite number of this sensor."""
        return tuple(
            rule
            for rule in self
            if rule.phase in phases and rule.may_apply is not not_in_columns and rule.concerns(sensor)
        )


TABLE = RuleTable()


def rule(
    id_: str,
    code: str,
    *,
    phase: Phase,
    english: str,
    spanish: str,
    applies_to: Iterable[Example],
    passes: Iterable[Example],
    column: ColumnCheck | None = None,
    concerns: Callable[[Sensor], bool] = everything,
    effect: Effect = Effect.REFUSED,
    quality: Quality = Quality.GOOD,
) -> Callable[[Callable[P, bool]], Rule[P]]:
    """Makes a rule of a predicate whose docstring says where it comes from, and enters it into the table.

    Raises ValueError, so at import, where the rule does not say how a column is checked, or has no examples.
    """
    if column is None:
        raise ValueError(f"{id_}: say how a whole column is checked (column=...), or column=gives_up")
    if (column is asked_once) != (phase in (Phase.DEVICE, Phase.SENSOR)):
        raise ValueError(f"{id_}: asked_once is for the phases device and sensor, and they need it")

    def enter(applies: Callable[P, bool]) -> Rule[P]:
        source = (applies.__doc__ or "").strip()
        refused, passed = tuple(applies_to), tuple(passes)
        if not (source and refused and passed):
            raise ValueError(f"{id_}: the source (docstring), an example and a counter-example are missing")
        made = Rule(
            id_, code, phase, effect, quality, english, spanish, source, applies, column, concerns, refused, passed
        )
        TABLE.enter(made)
        return made

    return enter
