"""What a client under test did right and wrong, one rule of the integrator's guide a check."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from metering_gateway.conformance.faults import Fault
from metering_gateway.conformance.kit import RETRY_AFTER_SECONDS, UNKNOWN_DEVICE, Kit
from metering_gateway.conformance.platform import Call

Outcome = Literal["right", "wrong", "not seen"]
_MEASUREMENTS, _REFRESH = "/measurements", "/auth/token/refresh"
_EARLY_SECONDS = 0.1  # clocks and timers are not exact


@dataclass(frozen=True, slots=True)
class Finding:
    """`rule` is what is wanted, `detail` what was seen instead."""

    rule: str
    outcome: Outcome
    detail: str = ""


def find(kit: Kit) -> list[Finding]:
    """All checks in the order of the guide."""
    return [finding for check in _CHECKS for finding in check(kit)]


def _delivered(kit: Kit) -> Iterator[Finding]:
    missing = kit.missing()
    yield _finding("every reading arrives", not missing, f"{len(missing)} are missing, the first is {missing[:1]}")
    arrivals = kit.platform.arrivals
    strange = [key for key in arrivals if key not in kit.wanted]
    yield _finding("nothing else arrives", not strange, f"{strange[:1]} was never read")
    wrong = [key for key, values in kit.wanted.items() if arrivals.get(key) and not set(arrivals[key]) <= set(values)]
    yield _finding("values and timestamps arrive unchanged", not wrong, f"{wrong[:1]} has another value")
    last = [key for key, values in kit.wanted.items() if arrivals.get(key) and arrivals[key][-1] != values[-1]]
    yield _finding("of two values for one key the later arrives last", not last, f"{last[:1]} ends on the earlier one")


def _one_at_a_time(kit: Kit) -> Iterator[Finding]:
    most = kit.platform.concurrent
    yield _finding("one request at a time", most <= 1, f"{most} at once")


def _limits(kit: Kit) -> Iterator[Finding]:
    codes = {call.code for call in kit.calls(_MEASUREMENTS)}
    yield _finding("at most 100 measures within a day in one request", "span_too_long" not in codes, "more came")
    headers = [call for call in kit.calls(_MEASUREMENTS) if not call.content_type.startswith("application/json")]
    yield _finding("content-type is application/json", not headers, f"{headers[0].content_type if headers else ''}")


def _repeats(kit: Kit) -> Iterator[Finding]:
    """After each fault the same measures have to come again."""
    calls = kit.calls(_MEASUREMENTS)
    for fault in dict.fromkeys((*kit.fault_counts(), *kit.script.left)):
        if fault in {Fault.NONE, Fault.SLOW, Fault.EXPIRED}:
            continue
        rule = f"after {fault.value}: the same again"
        at = next((index for index, call in enumerate(calls) if call.fault is fault), None)
        if at is None:
            yield Finding(rule, "not seen")
            continue
        again = {key for call in calls[at + 1 :] for key in call.keys}
        lost = [key for key in calls[at].keys if key not in again]
        yield _finding(rule, not lost, f"{len(lost)} measures were not sent again")


def _waits(kit: Kit) -> Iterator[Finding]:
    for fault, name in ((Fault.TOO_MANY, "429"), (Fault.UNAVAILABLE, "503")):
        gap = _gap_after(kit.calls(_MEASUREMENTS), fault)
        rule = f"waits as long as Retry-After of a {name} says"
        if gap is None:
            yield Finding(rule, "not seen")
        else:
            yield _finding(rule, gap >= RETRY_AFTER_SECONDS - _EARLY_SECONDS, f"came back after {gap:.1f} s")
    slow = [call for call in kit.calls(_MEASUREMENTS) if call.fault is Fault.SLOW]
    cut = [call for call in slow if call.cut_by_client]
    yield (
        _finding("waits for a slow answer", not cut, "gave up")
        if slow
        else Finding("waits for a slow answer", "not seen")
    )


def _unknown(kit: Kit) -> Iterator[Finding]:
    calls = kit.calls(_MEASUREMENTS)
    first = next((i for i, call in enumerate(calls) if call.code == "devices_unknown"), None)
    rule = "takes an unknown device out and sends the rest at once"
    if first is None:
        yield Finding(rule, "not seen", f"device {UNKNOWN_DEVICE} was never sent")
        return
    named = sum(call.code == "devices_unknown" for call in calls)
    yield _finding(rule, named <= _MOST_UNKNOWN, f"it was sent {named} times within the hour")


_MOST_UNKNOWN = 3


def _poison(kit: Kit) -> Iterator[Finding]:
    refused = [call for call in kit.calls(_MEASUREMENTS) if call.code == "wrong_shape"]
    rule = "finds the one measure at fault by halving and sets it aside"
    alone = sum(len(call.keys) == 1 for call in refused)
    if not refused:
        yield Finding(rule, "not seen", "the measure at fault was never sent")
    else:
        yield _finding(rule, 1 <= alone <= _MOST_ALONE, f"it was sent alone {alone} times")


_MOST_ALONE = 2


def _tokens(kit: Kit) -> Iterator[Finding]:
    family = kit.platform.family
    yield _finding("never goes back to an earlier refresh token", not family.refused, f"{family.refused} were refused")
    lost = [call for call in kit.calls(_REFRESH) if call.fault is Fault.CUT_LANDED]
    rule = "asks with the same refresh token again when the answer was lost"
    yield _finding(rule, not family.refused, "another one came") if lost else Finding(rule, "not seen")
    expired = [call for call in kit.calls(_MEASUREMENTS) if call.fault is Fault.EXPIRED]
    rule = "refreshes on a 401 and sends the same again"
    again = len(kit.calls(_REFRESH)) > 1
    yield _finding(rule, again, "no refresh came") if expired else Finding(rule, "not seen")


def _clock(kit: Kit) -> Iterator[Finding]:
    asked = bool(kit.calls("/server-time"))
    yield Finding(
        "asks for server-time", "right" if asked else "not seen", "" if asked else "only needed without a clock"
    )


_CHECKS: tuple[Callable[[Kit], Iterator[Finding]], ...] = (
    _delivered,
    _one_at_a_time,
    _limits,
    _repeats,
    _waits,
    _unknown,
    _poison,
    _tokens,
    _clock,
)


def _finding(rule: str, holds: bool, otherwise: str) -> Finding:  # noqa: FBT001  a private helper of one shape
    return Finding(rule, "right") if holds else Finding(rule, "wrong", otherwise)


def _gap_after(calls: list[Call], fault: Fault) -> float | None:
    """Seconds from the answer with that fault to the next request."""
    for before, after in pairwise(calls):
        if before.fault is fault:
            return after.began - before.ended
    return None
