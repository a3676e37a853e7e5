"""What operations see of the writing: one log line per batch with its batch ids, metrics, and why it is not ready."""

import structlog

from metering_common.contract.messages import Status
from metering_common.service.clock import Clock
from metering_common.service.tracing import StageTrace, no_trace, trace_ids
from metering_writer.application import StoredBatch
from metering_writer.domain.accounts import total
from metering_writer.domain.records import Record
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
        self._trace((record.headers for record in batch.records), seconds)
        for name, count in write_result._asdict().items():
            self._metrics.values.labels(name).inc(count)
        if self._database_failure is not None:
            self._database_failure = None
            self._metrics.database_down.set(0)
            log.info("database.recovered")
        log.info(
            "records.stored",
            batch_ids=list(dict.fromkeys(str(record.headers.batch_id) for record in batch.records)),
            trace_ids=trace_ids(record.headers for record in batch.records),
            records=len(batch.records),
            redelivered=batch.redelivered,
            trimmed=batch.trimmed,
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

    def died(self, record: Record) -> None:
        self._metrics.dead.inc()
        log.error(
            "record.dead",
            batch_ids=[str(record.headers.batch_id)],
            source=str(record.source.position),
            error=record.fault,
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
        self._metrics.batch_records.observe(len(batch.records))
        self._metrics.redelivered.inc(batch.redelivered)
        self._metrics.trimmed.inc(batch.trimmed)
        for status in Status:
            alike = sum(record.validated.status is status for record in batch.records)
            self._metrics.records.labels(status.value).inc(alike)
        now_ms = self._clock.now_ms()
        for record in batch.records:
            if record.headers.source == "http":  # what is replayed or polled was received long before
                self._metrics.queryable_seconds.observe(max(0, now_ms - record.headers.received_at_ms) / 1_000)
        self._metrics.refused.inc(sum(record.validated.counts.refused for record in batch.records))
        self._metrics.not_taken.inc(sum(record.validated.counts.not_taken for record in batch.records))
