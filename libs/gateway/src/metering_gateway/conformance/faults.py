"""What goes wrong between a gateway and the test platform, one decision per request."""

import enum
import random
from collections.abc import Callable, Iterable


class Fault(enum.Enum):
    """`LANDED`: the measures were taken, or the tokens rotated, and the answer does not say so."""

    NONE = "none"
    UNAVAILABLE = "503, nothing taken"
    UNAVAILABLE_LANDED = "503, all taken"
    CUT = "connection cut, nothing taken"
    CUT_LANDED = "connection cut, all taken"
    TIMEOUT = "408"
    BAD_GATEWAY = "502 with a page of HTML"
    TOO_MANY = "429 with Retry-After: 0"
    FORBIDDEN_BY_PROXY = "403 with a page of HTML"
    CAPTIVE_PORTAL = "200 with a page of HTML"


Faults = Callable[[], Fault]


def no_faults() -> Fault:
    return Fault.NONE


def scripted(faults: Iterable[Fault]) -> Faults:
    """These, then none."""
    rest = iter(faults)
    return lambda: next(rest, Fault.NONE)


def random_faults(seed: int, share: float) -> Faults:
    """Any of them, in `share` of the requests."""
    rng = random.Random(seed)  # noqa: S311  # a fixed seed is the point
    kinds = [fault for fault in Fault if fault is not Fault.NONE]
    return lambda: rng.choice(kinds) if rng.random() < share else Fault.NONE
