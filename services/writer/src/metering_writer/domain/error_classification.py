"""When the database refuses: what may be an entry's own fault, and how long to wait."""

_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
_ENTRYS_OWN = ("22", "23", "54")
"""SQLSTATE classes: data exception, integrity constraint, program limit. They only raise a suspicion."""
_UNIQUE_VIOLATION = "23505"


def could_be_the_entrys_own(error: Exception) -> bool:
    """Whether it is worth to look for one entry at fault. Full, read-only, gone or slow is never an entry's fault."""
    sqlstate = getattr(error, "sqlstate", None)
    if sqlstate is None:
        return isinstance(error, (ValueError, TypeError, OverflowError))
    return str(sqlstate)[:2] in _ENTRYS_OWN and sqlstate != _UNIQUE_VIOLATION


def is_same_fault(one: Exception, other: Exception) -> bool:
    """The same kind of refusal twice."""
    return type(one) is type(other) and getattr(one, "sqlstate", None) == getattr(other, "sqlstate", None)


def backoff_seconds(failures: int) -> float:
    """0.1 s, doubling up to 5 s: short enough to go on soon after the database is back."""
    return min(_FIRST_WAIT_SECONDS * 2.0 ** min(failures, 10), _LONGEST_WAIT_SECONDS)
