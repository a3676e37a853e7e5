"""When the database refuses: what may be a record's own fault, how long to wait, and when so many die that we stop."""

from collections import deque

_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
_RECORDS_OWN = ("22", "23", "54")
"""SQLSTATE classes: data exception, integrity constraint, program limit. They only raise a suspicion."""
_UNIQUE_VIOLATION = "23505"

MOST_DEAD_SHARE = 0.01
LEAST_DEAD = 100
WINDOW_SECONDS = 60.0


class TooManyDeadError(Exception):
    """Over 1 % and at least 100 of a minute's records are dead: rather a bad release than bad records."""


def could_be_the_records_own(error: Exception) -> bool:
    """Whether it is worth to look for one record at fault. Full, read-only, gone or slow is never a record's fault."""
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is None:
        return isinstance(error, (ValueError, TypeError, OverflowError))
    return str(sqlstate)[:2] in _RECORDS_OWN and sqlstate != _UNIQUE_VIOLATION


def is_same_fault(one: Exception, other: Exception) -> bool:
    """The same kind of refusal twice."""
    return type(one) is type(other) and getattr(one, "sqlstate", None) == getattr(other, "sqlstate", None)


def backoff_seconds(failures: int) -> float:
    """0.1 s, doubling up to 5 s: short enough to go on soon after the database is back."""
    return min(_FIRST_WAIT_SECONDS * 2.0 ** min(failures, 10), _LONGEST_WAIT_SECONDS)


class DeathRate:
    """Counts a minute's records and the dead among them; times in seconds of any clock that never goes back."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def saw(self, at: float, records: int, dead: int = 0) -> None:
        """Raises `TooManyDeadError` when these dead would be too many: before they are sent."""
        self._seen.append((at, records, dead))
        while self._seen[0][0] < at - WINDOW_SECONDS:
            self._seen.popleft()
        total = sum(count for _, count, _ in self._seen)
        dying = sum(count for _, _, count in self._seen)
        if dead and dying >= LEAST_DEAD and dying > total * MOST_DEAD_SHARE:
            raise TooManyDeadError(f"{dying} of the last minute's {total} records are dead")
