"""One raw record becomes what is sent because of it: its validated record, its outcome, perhaps a dead letter.

Around the pure validation stands only the encoding: the same record gives the same bytes, but for a dead letter's time.
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple
from uuid import UUID

from metering_common.contract import codec, topics
from metering_common.contract.metadata import (
    DeadLetterNote,
    KafkaHeaders,
    RecordHeaders,
    RecordPosition,
    encode_dead_letter_headers,
    encode_headers,
)
from metering_common.kafka.publisher import Record
from metering_validator.domain.context import Context
from metering_validator.domain.poison import stand_in_headers
from metering_validator.domain.received import UnreadableElementError
from metering_validator.domain.result import Result, dead_result
from metering_validator.domain.validation import validate

SERVICE = "validator"
LARGEST_VALUE_BYTES = 4_000_000
"""A validated record fits its topic by construction (docs/architecture.md, *Sizes*); if one does not, it is dead."""


class RawRecord(NamedTuple):
    """One record of `measurements.raw.v1`."""

    position: RecordPosition
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: KafkaHeaders


class RecordResult(NamedTuple):
    """What became of one raw record; `error` says why it is dead."""

    headers: RecordHeaders
    result: Result
    outputs: list[Record]
    error: str | None = None


class Tally:
    """The sums of a batch, for its metrics and its line in the log."""

    def __init__(self, results: Iterable[RecordResult]) -> None:
        self.totals: dict[str, int] = dict.fromkeys(
            ("validated", "dead", "measures", "accepted", "refused", "not_taken", "repeated"), 0
        )
        self.findings: Counter[str] = Counter()
        self._batches: dict[UUID, None] = {}
        for headers, result, _outputs, _error in results:
            counts = result.validated.counts
            self.totals[result.validated.status.value] += 1
            self.totals["measures"] += counts.measures
            self.totals["accepted"] += counts.accepted
            self.totals["refused"] += counts.refused
            self.totals["not_taken"] += counts.not_taken
            self.totals["repeated"] += counts.repeated
            self.findings.update(result.findings_per_rule)
            self._batches[headers.batch_id] = None

    def batch_ids(self) -> list[str]:
        """In the order in which they came, each once."""
        return [str(batch_id) for batch_id in self._batches]


def validate_record(record: RawRecord, context: Context, now_ms: int) -> RecordResult:
    """Validated, or dead when its bytes cannot be read. `now_ms` only dates a dead letter.

    A rule that raises would block its partition for ever: what raises twice is taken for unreadable, and too many
    such records stop the process.
    """
    for last_try in (False, True):
        try:
            return _validated(record, context)
        except UnreadableElementError as error:
            why = str(error)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  see the docstring
            why = f"validation failed: {error!r}"
        if last_try:
            break
    return _dead(record, context.headers, record.headers, why, now_ms)


def malformed(record: RawRecord, error: str, now_ms: int) -> RecordResult:
    """Dead, since its headers cannot be read; others stand in for them."""
    headers = stand_in_headers(record.position, record.timestamp_ms)
    return _dead(record, headers, encode_headers(headers), error, now_ms)


def _validated(record: RawRecord, context: Context) -> RecordResult:
    result = validate(record.value, context)
    value = codec.encode(result.validated)
    if len(value) > LARGEST_VALUE_BYTES:
        raise UnreadableElementError(f"its result has {len(value)} bytes, more than its topic takes")
    outputs = _answers(context.headers, record.headers, value, codec.encode(result.outcome))
    return RecordResult(context.headers, result, outputs)


def _dead(
    record: RawRecord, headers: RecordHeaders, kafka_headers: KafkaHeaders, error: str, now_ms: int
) -> RecordResult:
    result = dead_result(headers, record.position, error)
    note = DeadLetterNote(source=record.position, error=error, service=SERVICE, died_at_ms=now_ms)
    letter = Record(topics.DEAD, record.key, record.value, encode_dead_letter_headers(record.headers, note))
    answers = _answers(headers, kafka_headers, codec.encode(result.validated), codec.encode(result.outcome))
    return RecordResult(headers, result, [letter, *answers], error)


def _answers(headers: RecordHeaders, kafka_headers: KafkaHeaders, validated: bytes, outcome: bytes) -> list[Record]:
    return [
        Record(topics.VALIDATED, b"%d" % headers.device_id, validated, kafka_headers),
        Record(topics.OUTCOMES, str(headers.batch_id).encode(), outcome, []),
    ]
