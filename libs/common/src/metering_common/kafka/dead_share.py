"""How many of a minute's entries are dead: a bad release must not empty a topic into the dead letters."""

from collections import deque
from typing import NamedTuple

SHARE = 0.01
LEAST = 100
SECONDS = 60.0


class TooManyDeadError(Exception):
    """Over 1 % and at least 100 of a minute's entries are dead: rather a bad release than bad entries."""


class _Tally(NamedTuple):
    at: float
    entries: int
    dead: int


class DeadShare:
    """Counts a minute's entries and the dead among them; times in seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._tallies: deque[_Tally] = deque()

    def add(self, at: float, entries: int, dead: int) -> None:
        """Raises `TooManyDeadError` when these dead are too many: to be asked before they are sent anywhere."""
        self._tallies.append(_Tally(at, entries, dead))
        while self._tallies[0].at <= at - SECONDS:
            self._tallies.popleft()
        if not dead:
            return
        all_dead = sum(tally.dead for tally in self._tallies)
        entries = sum(tally.entries for tally in self._tallies)
        if all_dead >= LEAST and all_dead > SHARE * entries:
            raise TooManyDeadError(f"{all_dead} of the last minute's {entries} entries are dead")
