"""The validator's use case: a batch of raw envelopes becomes results, let go once all are acknowledged."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from metering_common.contract.envelope import ConsumedRecord, Envelope, UnknownSchemaVersionError, read_envelope
from metering_common.contract.metadata import EntryMetadata, RegistryVersion
from metering_common.contract.topics import OUTCOMES
from metering_common.kafka.dead_share import DeadShare, TooManyDeadError
from metering_common.kafka.publisher import PublishUnavailableError, Record, RecordTooLargeError
from metering_common.service.clock import Clock
from metering_common.service.tracing import StageTrace, no_trace, trace_ids
from metering_validator.domain.context import Context, Limits
from metering_validator.domain.dictionary import Dictionary
from metering_validator.envelope_results import (
    EnvelopeResult,
    Tally,
    dead_letters,
    outcome_records,
    validate_envelope,
    validated_record,
)
from metering_validator.metrics import Metrics
from metering_validator.registry_barrier import RegistryBarrier, Replica

MAX_RETRY_SECONDS = 900.0
"""Kafka gives up a consumer that does not poll for 1,000 s: a retry that lasts longer starts again in a new process."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class CannotGoOnError(Exception):
    """The process must end, and nothing of the batch in flight may be committed."""


class Publisher(Protocol):
    """Where results go; see `metering_common.kafka.publisher`."""

    async def partitions(self, topic: str) -> int: ...

    async def publish(self, records: Sequence[Record]) -> None: ...


class Validator:
    """Validates batches, one at a time."""

    def __init__(
        self,
        replica: Replica,
        publisher: Publisher,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        *,
        pause_seconds: float = FIRST_PAUSE_SECONDS,
        trace: StageTrace = no_trace,
    ) -> None:
        self._replica = replica
        self._publisher = publisher
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._first_pause = pause_seconds
        self._trace = trace
        self._barrier = RegistryBarrier(replica, metrics)
        self._share = DeadShare()
        self._dictionary = Dictionary(())
        self._generation = -1
        self._oldest_ms: int | None = None
        metrics.lag_seconds.set_function(self._lag_seconds)

    async def validate(self, records: Sequence[ConsumedRecord]) -> None:
        """Returns when every output of every record is acknowledged. Raises `CannotGoOnError`."""
        started = self._clock.monotonic()
        self._oldest_ms = min((record.timestamp_ms for record in records), default=None)
        envelopes = [_read(record) for record in records]
        await self._barrier.wait(_registry_versions(envelopes))
        self._refresh_dictionary()
        results = [validate_envelope(envelope, self._context) for envelope in envelopes]
        self._check_dead_share(results)
        await self._deliver(results)
        self._account(results, self._clock.monotonic() - started)
        self._oldest_ms = None

    def _lag_seconds(self) -> float:
        return 0.0 if self._oldest_ms is None else max(0.0, (self._clock.now_ms() - self._oldest_ms) / 1_000)

    def _refresh_dictionary(self) -> None:
        registry = self._replica.registry
        if registry.generation != self._generation:
            self._dictionary = Dictionary(registry.sensors.values())
            self._generation = registry.generation

    def _context(self, metadata: EntryMetadata) -> Context:
        device = self._replica.registry.devices.get(metadata.device_id)
        return Context(metadata, device, self._dictionary, self._limits)

    def _check_dead_share(self, results: Sequence[EnvelopeResult]) -> None:
        """Before anything is sent: what is dead because of this release is not to reach the dead letters."""
        entries = sum([len(result.entries) for result in results])
        errors = [entry.error for result in results for entry in result.entries if entry.error is not None]
        try:
            self._share.add(self._clock.monotonic(), entries, len(errors))
        except TooManyDeadError as error:
            raise CannotGoOnError(f"{error}, the last: {errors[-1]}") from error

    async def _deliver(self, results: Sequence[EnvelopeResult]) -> None:
        """Tries for as long as it takes, up to 900 s; what is sent twice says the same."""
        now_ms = self._clock.now_ms()
        outputs = [letter for result in results for letter in dead_letters(result, now_ms)]
        outputs += [validated_record(result) for result in results]
        give_up_at = self._clock.monotonic() + MAX_RETRY_SECONDS
        pause = self._first_pause
        while True:
            try:
                partitions = await self._publisher.partitions(OUTCOMES)
                await self._publisher.publish([*outputs, *outcome_records(results, partitions)])
            except PublishUnavailableError as error:
                if self._clock.monotonic() >= give_up_at:
                    raise CannotGoOnError(f"outputs not acknowledged within {MAX_RETRY_SECONDS:.0f} s") from error
                self._metrics.publish_retries.inc()
                log.warning("entries.publish_retried", reason=error.reason, outputs=len(outputs))
            except RecordTooLargeError as error:
                raise CannotGoOnError(f"an output fits no topic: {error}") from error
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _account(self, results: Sequence[EnvelopeResult], seconds: float) -> None:
        tally = Tally(results)
        self._metrics.add(tally.totals, tally.findings, seconds)
        readable = [entry.metadata for result in results for entry in result.entries if result.envelope.readable]
        batches = [str(batch_id) for batch_id in dict.fromkeys([metadata.batch_id for metadata in readable])]
        log.info(
            "entries.validated", batch_ids=batches, trace_ids=trace_ids(readable), **tally.totals, rules=tally.findings
        )
        for result in results:
            self._trace([entry.metadata for entry in result.entries], seconds)


def _read(record: ConsumedRecord) -> Envelope:
    try:
        return read_envelope(record)
    except UnknownSchemaVersionError as error:
        raise CannotGoOnError(f"{record.position}: {error}") from error


def _registry_versions(envelopes: Sequence[Envelope]) -> set[RegistryVersion]:
    return {entry.metadata.registry for envelope in envelopes for entry in envelope.entries if entry.fault is None}
