"""A raw envelope becomes what is sent because of it: its validated envelope, outcomes, perhaps dead letters.

Around the pure validation stands only the encoding: the same envelope gives the same bytes, but for a dead letter's
time.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from metering_common.contract import topics
from metering_common.contract.dead_letters import dead_letter
from metering_common.contract.envelope import (
    SCHEMA_VERSION,
    Entry,
    Envelope,
    PackedEntry,
    envelope_headers,
    pack,
    repacked,
)
from metering_common.contract.messages import Refusal, Validated, encode_validated
from metering_common.contract.metadata import EntryMetadata
from metering_common.contract.outcomes import pack_outcomes
from metering_common.kafka.publisher import Record
from metering_validator.domain.context import Context
from metering_validator.domain.received import UnreadableElementError
from metering_validator.domain.result import Result, dead_result
from metering_validator.domain.validation import validate

SERVICE = "validator"
REFUSALS_PER_RAW_BYTE = 8
LEAST_REFUSAL_BYTES = 2 * 1024
MOST_REFUSAL_BYTES = 1024 * 1024
"""So a validated envelope fits its topic by construction: docs/architecture.md, *Sizes*, has the arithmetic."""

ContextOf = Callable[[EntryMetadata], Context]


class EntryResult(NamedTuple):
    """What became of one raw entry; `error` says why it is dead."""

    metadata: EntryMetadata
    result: Result
    error: str | None = None


class EnvelopeResult(NamedTuple):
    """What became of a raw envelope, entry by entry."""

    envelope: Envelope
    entries: list[EntryResult]

    @property
    def dead(self) -> int:
        return sum([entry.error is not None for entry in self.entries])


class Tally:
    """The sums of a batch, for its metrics and its line in the log."""

    def __init__(self, results: Iterable[EnvelopeResult]) -> None:
        self.totals: dict[str, int] = dict.fromkeys(
            ("envelopes", "validated", "dead", "measures", "accepted", "refused", "not_taken", "repeated"), 0
        )
        self.findings: Counter[str] = Counter()
        for result in results:
            self.totals["envelopes"] += 1
            for entry in result.entries:
                self._add(entry.result)

    def _add(self, result: Result) -> None:
        totals, counts = self.totals, result.validated.counts
        totals[result.validated.status.value] += 1
        totals["measures"] += counts.measures
        totals["accepted"] += counts.accepted
        totals["refused"] += counts.refused
        totals["not_taken"] += counts.not_taken
        totals["repeated"] += counts.repeated
        if result.findings_per_rule:
            self.findings.update(result.findings_per_rule)


def validate_envelope(envelope: Envelope, context_of: ContextOf) -> EnvelopeResult:
    """Every entry by itself: what is wrong with one is nobody else's affair."""
    return EnvelopeResult(envelope, [_validate_entry(entry, context_of) for entry in envelope.entries])


def validated_record(result: EnvelopeResult) -> Record:
    """The validated envelope: at each index what became of the raw entry there."""
    entries = [
        PackedEntry(repacked(entry), encode_validated(one.result.validated))
        for entry, one in zip(result.envelope.entries, result.entries, strict=True)
    ]
    headers = envelope_headers(result.envelope.id, len(entries), raw=result.envelope.record.position)
    return Record(topics.VALIDATED, None, pack(entries), headers)


def outcome_records(results: Sequence[EnvelopeResult], partitions: int) -> Iterator[Record]:
    """Packed per partition over the whole batch: of many partitions each would else get a record per envelope."""
    outcomes = [entry.result.outcome for result in results for entry in result.entries]
    headers = [("schema-version", b"%d" % SCHEMA_VERSION)]
    for partition, value in pack_outcomes(outcomes, partitions):
        yield Record(topics.OUTCOMES, None, value, headers, partition)


def dead_letters(result: EnvelopeResult, now_ms: int) -> Iterator[Record]:
    """One per dead entry, or one for an envelope that cannot be taken apart."""
    for index, entry in enumerate(result.entries):
        if entry.error is not None:
            letter = dead_letter(result.envelope, index, entry.error, SERVICE, now_ms)
            yield Record(topics.DEAD, None, letter.value, letter.headers)


def _validate_entry(entry: Entry, context_of: ContextOf) -> EntryResult:
    """A rule that raises would block its partition for ever: what raises twice is taken for unreadable."""
    if entry.fault is not None:
        return _dead(entry.metadata, entry.fault)
    for last_try in (False, True):
        try:
            result = validate(entry.packed.value, context_of(entry.metadata))
            return EntryResult(entry.metadata, _fitted(result, len(entry.packed.value)))
        except UnreadableElementError as error:
            why = str(error)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  see the docstring; too many such entries stop the process
            why = f"validation failed: {error!r}"
        if last_try:
            break
    return _dead(entry.metadata, why)


def _dead(metadata: EntryMetadata, error: str) -> EntryResult:
    return EntryResult(metadata, dead_result(metadata, error), error)


def _fitted(result: Result, raw_bytes: int) -> Result:
    """Refusals that take more than their share are counted and not carried: the first ones stay."""
    if not result.validated.refusals:
        return result
    room = min(MOST_REFUSAL_BYTES, max(LEAST_REFUSAL_BYTES, REFUSALS_PER_RAW_BYTE * raw_bytes))
    return result._replace(validated=_with_refusals_within(result.validated, room))


def _with_refusals_within(validated: Validated, room: int) -> Validated:
    kept: list[Refusal] = []
    for refusal in validated.refusals:
        room -= len(msgspec.json.encode(refusal)) + 1
        if room < 0:
            break
        kept.append(refusal)
    else:
        return validated
    beyond = sum([refusal.count for refusal in validated.refusals[len(kept) :]])
    return msgspec.structs.replace(validated, refusals=kept, refusals_beyond=validated.refusals_beyond + beyond)
