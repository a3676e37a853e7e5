"""What became of a batch, put together from the outcomes of its records (contracts/openapi/input.yaml)."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from metering_common.contract.batch_id import batch_time_ms
from metering_common.contract.messages import MAX_OUTCOME_FINDINGS, Finding, FindingKind, Outcome, Status
from metering_common.http.problems import Problem

WINDOW_SECONDS = 3_600
"""For so long after its request a batch is told about; the outcomes themselves are kept for a day."""
SKEW_SECONDS = 60
"""Clocks of two pods differ by less."""
INCOMPLETE_AFTER_SECONDS = 60
_UUID_7 = 7
_ORDER = {FindingKind.REFUSED: 0, FindingKind.NOT_TAKEN: 1, FindingKind.QUALITY: 2}
_COUNTS = ("measures", "values", "accepted", "refused", "not_taken", "repeated")


class Told(NamedTuple):
    """An outcome and when it was told, Unix milliseconds."""

    at_ms: int
    outcome: Outcome


def is_complete(outcomes: Iterable[Outcome]) -> bool:
    """Whether every record of the batch has its outcome; one told twice counts once."""
    items = {outcome.item: outcome.items for outcome in outcomes}
    return bool(items) and len(items) == max(items.values())


def findings(outcomes: Iterable[Outcome]) -> list[Finding]:
    """Refusals first, then sensors not taken, then quality; 100 at most, as in each outcome."""
    every = [finding for outcome in _by_item(outcomes) for finding in outcome.findings]
    return sorted(every, key=lambda finding: _ORDER[finding.kind])[:MAX_OUTCOME_FINDINGS]


def batch_in_window(text: str, now_ms: int) -> UUID:
    """The id of a batch that could be told about; raises a 404 `Problem`."""
    try:
        batch_id = UUID(text)
    except ValueError:
        raise no_such_batch() from None
    age_seconds = (now_ms - batch_time_ms(batch_id)) / 1_000
    if batch_id.version != _UUID_7 or str(batch_id) != text or age_seconds < -SKEW_SECONDS:
        raise no_such_batch()
    if age_seconds > WINDOW_SECONDS:
        raise Problem(404, "batch_outside_window", f"results are told for {WINDOW_SECONDS} s after the request")
    return batch_id


def no_such_batch() -> Problem:
    return Problem(404, "batch_unknown", "this provider has no such batch")


def result(batch_id: UUID, provider: int, told: Sequence[Told], now_ms: int) -> dict[str, Any]:
    """The batch resource. Another provider's batch is none: raises a 404 `Problem`."""
    if any(outcome.provider != provider for _, outcome in told):
        raise no_such_batch()
    outcomes = _by_item(outcome for _, outcome in told)
    return {
        "batchId": str(batch_id),
        "status": _status(told, now_ms),
        "records": {
            "expected": max((outcome.items for outcome in outcomes), default=None),
            "validated": len(outcomes),
            "dead": sum(outcome.status is Status.DEAD for outcome in outcomes),
        },
        "counts": {_camel(name): sum(getattr(outcome.counts, name) for outcome in outcomes) for name in _COUNTS},
        "refusedPerRule": _per_rule(outcomes),
        "refusals": [
            finding for outcome in outcomes for finding in outcome.findings if finding.kind is FindingKind.REFUSED
        ][:MAX_OUTCOME_FINDINGS],
    }


def _status(told: Sequence[Told], now_ms: int) -> str:
    """Pending until the first result, incomplete 60 s after it if records are missing."""
    if not told:
        return "pending"
    if is_complete(outcome for _, outcome in told):
        return "validated"
    first_at_ms = min(at_ms for at_ms, _ in told)
    return "incomplete" if now_ms - first_at_ms > INCOMPLETE_AFTER_SECONDS * 1_000 else "pending"


def _by_item(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """In the request's order; of two outcomes for one record the first holds, as in the ledger."""
    first: dict[int, Outcome] = {}
    for outcome in outcomes:
        first.setdefault(outcome.item, outcome)
    return [first[item] for item in sorted(first)]


def _per_rule(outcomes: Sequence[Outcome]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for outcome in outcomes:
        for rule, count in outcome.rules.items():
            sums[rule] = sums.get(rule, 0) + count
    return sums


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
