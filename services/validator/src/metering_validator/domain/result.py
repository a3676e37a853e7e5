"""What validation says of one record: the validated record, its outcome, and the counts that metrics take from them."""

from typing import NamedTuple

import msgspec

from metering_common.contract.messages import (
    MAX_OUTCOME_FINDINGS,
    MAX_RAW_TEXT,
    Counts,
    Finding,
    FindingKind,
    NotTaken,
    Outcome,
    Refusal,
    Rows,
    Status,
    Validated,
)
from metering_common.contract.metadata import MAX_ERROR_BYTES, RecordHeaders, RecordPosition
from metering_validator.domain.context import Context
from metering_validator.domain.rules import TABLE
from metering_validator.domain.rules.sensor import sensor_not_on_list


class Result(NamedTuple):
    """Both answers about one raw record."""

    validated: Validated
    outcome: Outcome
    findings_per_rule: dict[str, int]
    """Per rule ID how many values it refused, left out or marked; 1 for a rule about the whole record."""


class Account(msgspec.Struct, frozen=True):
    """All that was found in a record, before it is put into words. Lists are in the document's order."""

    counts: Counts
    rows: list[Rows]
    refusals: list[Refusal] = []
    refusals_beyond: int = 0
    not_taken: list[NotTaken] = []
    findings: list[Finding] = []
    """Refusals and quality warnings, as they were found."""
    refused_per_rule: dict[str, int] = {}
    marked_per_rule: dict[str, int] = {}


def result(account: Account, device_number: str, context: Context) -> Result:
    """Puts an account into the two messages."""
    per_rule = account.refused_per_rule | account.marked_per_rule
    if account.counts.not_taken:
        per_rule[sensor_not_on_list.id] = account.counts.not_taken
    validated = Validated(
        raw=context.raw,
        status=Status.VALIDATED,
        counts=account.counts,
        rows=account.rows,
        refusals=account.refusals,
        refusals_beyond=account.refusals_beyond,
        not_taken=account.not_taken,
    )
    outcome = _outcome(context.headers, Status.VALIDATED, account.counts, account.refused_per_rule)
    if account.findings or account.not_taken:
        outcome = _with_findings(outcome, account, device_number, context)
    return Result(validated, outcome, per_rule)


def dead_result(headers: RecordHeaders, raw: RecordPosition, error: str) -> Result:
    """A record that cannot be read has its ledger row and its outcome all the same."""
    short = error.encode("utf-8", "replace")[:MAX_ERROR_BYTES].decode("utf-8", "ignore")
    validated = Validated(raw=raw, status=Status.DEAD, counts=Counts(), error=short)
    return Result(validated, _outcome(headers, Status.DEAD, Counts(), {}), {})


def finding(rule_id: str, kind: FindingKind, device: str, timestamp: int | str | None, sensor: str | None) -> Finding:
    """One entry of the API's `warnings`. Texts from outside are cut, lone surrogates made `?`: JSON must carry them."""
    return Finding(
        device_number=_carried(device),
        timestamp=_carried(timestamp) if isinstance(timestamp, str) else timestamp,
        sensor_name=None if sensor is None else _carried(sensor),
        kind=kind,
        rule=rule_id,
        message=TABLE[rule_id].english,
    )


def _carried(text: str) -> str:
    return text[:MAX_RAW_TEXT].encode("utf-8", "replace").decode("utf-8")


def _outcome(headers: RecordHeaders, status: Status, counts: Counts, rules: dict[str, int]) -> Outcome:
    return Outcome(
        batch_id=headers.batch_id,
        item=headers.item,
        items=headers.items,
        provider=headers.provider_id,
        device=headers.device_id,
        received_at_ms=headers.received_at_ms,
        status=status,
        counts=counts,
        rules=rules,
        replays=headers.replays,
    )


def _with_findings(outcome: Outcome, account: Account, device_number: str, context: Context) -> Outcome:
    refused = [found for found in account.findings if found.kind is FindingKind.REFUSED]
    marked = [found for found in account.findings if found.kind is FindingKind.QUALITY]
    left_out = [
        finding(
            sensor_not_on_list.id,
            FindingKind.NOT_TAKEN,
            device_number,
            None,
            context.dictionary.by_id[entry.sensor].name,
        )
        for entry in account.not_taken
    ]
    return msgspec.structs.replace(outcome, findings=[*refused, *left_out, *marked][:MAX_OUTCOME_FINDINGS])
