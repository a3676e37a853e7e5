"""The known series: what a probe's value is at an instant, and what SQL's account of the last day says about it."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

HIGHEST = 50.0
_FACTOR, _MODULUS = 2_654_435_761, 2**32  # Knuth's: neighbours differ, and each instant has one value for ever


class Stored(NamedTuple):
    """One measure as SQL has it."""

    value: float
    quality: int


class Broken(NamedTuple):
    """Instants at which the promise is broken."""

    missing: frozenset[int]
    wrong: frozenset[int]


def value_at(instant: int) -> float:
    """In amperes, three decimals, 0 to 50: plausible, and nowhere constant."""
    return round(instant * _FACTOR % _MODULUS / _MODULUS * HIGHEST, 3)


def next_instant(now_seconds: float, every_seconds: int) -> int:
    """Whole multiples of the interval, so that a restarted prober goes on with the same instants."""
    return (int(now_seconds) // every_seconds + 1) * every_seconds


def compare(accepted: AbstractSet[int], stored: Mapping[int, Stored]) -> Broken:
    """Missing is what was answered with 201 and overtaken: a later one of the same device, whose records keep their
    order, is in SQL. Wrong is what SQL has with another value or quality than sent.
    """
    newest = max(stored, default=0)
    missing = frozenset(instant for instant in accepted if instant < newest and instant not in stored)
    wrong = frozenset(instant for instant, found in stored.items() if found != Stored(value_at(instant), 0))
    return Broken(missing, wrong)
