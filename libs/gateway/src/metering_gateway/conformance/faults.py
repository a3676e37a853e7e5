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
    TOO_MANY = "429 with Retry-After"
    FORBIDDEN_BY_PROXY = "403 with a page of HTML"
    CAPTIVE_PORTAL = "200 with a page of HTML"
    REDIRECT = "302 to elsewhere"
    SLOW = "201 after some seconds"
    EXPIRED = "401, the access token has expired"


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
    kinds = [fault for fault in Fault if fault not in {Fault.NONE, Fault.SLOW, Fault.EXPIRED}]
    return lambda: rng.choice(kinds) if rng.random() < share else Fault.NONE
