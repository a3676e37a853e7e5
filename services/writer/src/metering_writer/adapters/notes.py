"""What operations see of the writing: one log line per batch with its batch ids, metrics, and why it is not ready."""

from itertools import groupby

import structlog

from metering_common.contract.messages import Status
from metering_common.service.clock import Clock
from metering_common.service.tracing import StageTrace, no_trace, trace_ids
from metering_writer.application import StoredBatch
from metering_writer.domain.accounts import total
from metering_writer.domain.entries import ValidatedEntry
from metering_writer.metrics import WriterMetrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class WriterNotes:
    """`application.Notes`, and the readiness checks."""

    def __init__(self, metrics: WriterMetrics, clock: Clock, trace: StageTrace = no_trace) -> None:
        self._metrics, self._clock, self._trace = metrics, clock, trace
        self._database_failure: str | None = None
        self.stopped: str | None = None
        """Why the consumer has stopped for good."""

    def stored(self, batch: StoredBatch, seconds: float) -> None:
        write_result = total(batch.write_results)
        self._count(batch, seconds)
        for _, entries in groupby(batch.entries, lambda entry: id(entry.envelope)):
            self._trace([entry.metadata for entry in entries], seconds)
        for name, count in write_result._asdict().items():
            self._metrics.values.labels(name).inc(count)
        if self._database_failure is not None:
            self._database_failure = None
            self._metrics.database_down.set(0)
            log.info("database.recovered")
        log.info(
            "entries.stored",
            batch_ids=[str(one) for one in dict.fromkeys([entry.metadata.batch_id for entry in batch.entries])],
            trace_ids=trace_ids(entry.metadata for entry in batch.entries),
            entries=len(batch.entries),
            redelivered=batch.redelivered,
            trimmed=batch.trimmed,
            races=batch.races,
            seconds=round(seconds, 4),
            **write_result._asdict(),
        )

    def database_failed(self, error: Exception) -> None:
        """Logged once per kind of failure, not once per attempt."""
        failure = f"{type(error).__name__}: {error}"
        self._metrics.database_failures.labels(getattr(error, "sqlstate", None) or type(error).__name__).inc()
        self._metrics.database_down.set(1)
        if failure != self._database_failure:
            log.warning("database.failed", error=failure)
        self._database_failure = failure

    def died(self, entry: ValidatedEntry) -> None:
        self._metrics.dead.inc()
        log.error(
            "entry.dead",
            batch_ids=[str(entry.metadata.batch_id)],
            source=f"{entry.envelope.record.position}/{entry.place}",
            error=entry.fault,
        )

    def stop(self, reason: str) -> None:
        """For good, until the process is started again."""
        self.stopped = reason
        self._metrics.stopped.set(1)
        log.critical("consumer.stopped", reason=reason)

    def database_reason(self) -> str | None:
        """A check for the admin server."""
        return self._database_failure

    def stopped_reason(self) -> str | None:
        """A check for the admin server."""
        return self.stopped

    def _count(self, batch: StoredBatch, seconds: float) -> None:
        self._metrics.batch_seconds.observe(seconds)
        self._metrics.batch_entries.observe(len(batch.entries))
        self._metrics.redelivered.inc(batch.redelivered)
        self._metrics.trimmed.inc(batch.trimmed)
        self._metrics.races.inc(batch.races)
        self._metrics.envelopes.inc(sum([entry.is_last for entry in batch.entries]))
        for status in Status:
            alike = sum([entry.validated.status is status for entry in batch.entries])
            self._metrics.entries.labels(status.value).inc(alike)
        now_ms = self._clock.now_ms()
        for entry in batch.entries:
            if entry.metadata.source == "http":  # what is replayed or polled was received long before
                self._metrics.queryable_seconds.observe(max(0, now_ms - entry.metadata.received_at_ms) / 1_000)
        self._metrics.refused.inc(sum([entry.validated.counts.refused for entry in batch.entries]))
        self._metrics.not_taken.inc(sum([entry.validated.counts.not_taken for entry in batch.entries]))
