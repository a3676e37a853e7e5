"""What a rule is: an ID, a code, a sentence for the integrator in two languages, and a pure function."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, ParamSpec

from metering_common.contract.messages import Quality

P = ParamSpec("P")


class Effect(StrEnum):
    """What becomes of a value that a rule applies to."""

    REFUSED = "refused"
    NOT_TAKEN = "not taken"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Rule(Generic[P]):
    """One sentence of validation. Metrics, refusals and docs/rules.md share its `id`; `code` never changes either."""

    id: str
    code: str
    effect: Effect
    quality: Quality
    english: str
    spanish: str
    source: str
    applies: Callable[P, bool]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        return self.applies(*args, **kwargs)


CATALOGUE: dict[str, Rule[Any]] = {}


def rule(
    id_: str,
    code: str,
    *,
    english: str,
    spanish: str,
    effect: Effect = Effect.REFUSED,
    quality: Quality = Quality.GOOD,
) -> Callable[[Callable[P, bool]], Rule[P]]:
    """Makes a rule of a predicate whose docstring says where it comes from, and enters it into the catalogue."""

    def enter(applies: Callable[P, bool]) -> Rule[P]:
        made = Rule(id_, code, effect, quality, english, spanish, (applies.__doc__ or "").strip(), applies)
        if id_ in CATALOGUE:
            raise ValueError(f"{id_} is given twice")
        CATALOGUE[id_] = made
        return made

    return enter
