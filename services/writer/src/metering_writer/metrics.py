"""Every metric of the writer, with its help text."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering_common.service.metrics import BATCH_BUCKETS, COUNT_BUCKETS
from metering_writer.domain.accounts import WriteResult
from metering_writer.domain.offsets import StopReason

QUERYABLE_BUCKETS = (0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300, 1_800)  # seconds; 5 is the promise


class WriterMetrics:
    """Invariant 1 for this process, and what operations watch."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Counter:
            return Counter(f"metering_writer_{name}", text, labels, registry=collectors)

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
            return Gauge(f"metering_writer_{name}", text, labels, registry=collectors)

        def histogram(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"metering_writer_{name}", text, buckets=buckets, registry=collectors)

        self.records = counter("records_total", "Validated records stored, by status.", ["status"])
        self.values = counter(
            "values_total", "Accepted values, by what became of them: they add up to all accepted.", ["write_result"]
        )
        self.refused = counter("refused_values_total", "Values whose refusal was stored.")
        self.not_taken = counter("not_taken_values_total", "Values not taken, as the ledger counts them.")
        self.redelivered = counter("redelivered_records_total", "Records whose result was there already.")
        self.trimmed = counter("trimmed_records_total", "Records in flight that had been stored in the meantime.")
        self.dead = counter("dead_records_total", "Records sent to the dead letters.")
        self.batch_seconds = histogram("batch_seconds", "Time of one transaction.", BATCH_BUCKETS)
        self.batch_records = histogram("batch_records", "Records of one transaction.", COUNT_BUCKETS)
        self.queryable_seconds = histogram(
            "queryable_seconds",
            "From ingest-api's received-at to the commit after which the record is in SQL, per record by HTTP.",
            QUERYABLE_BUCKETS,
        )
        self.database_failures = counter(
            "database_failures_total", "Transactions that the database did not take, by SQLSTATE.", ["sqlstate"]
        )
        self.database_down = gauge("database_down", "1 while the last transaction has failed.")
        self.lag_seconds = gauge("lag_seconds", "Age of the oldest record not yet stored, 0 when there is none.")
        self.partitions = gauge("partitions", "Partitions assigned to this writer.")
        self.assignments = counter("assignments_total", "Times that the group gave this writer its partitions.")
        self.stopped_partitions = gauge(
            "stopped_partitions", "Partitions that wait for an operator (metering-writer consumer-offset).", ["reason"]
        )
        self.lost_records = counter("lost_records_total", "Records gone from Kafka before they were stored.")
        self.stopped = gauge("stopped", "1 when too many records died and the consumer has stopped.")
        self.dimensions_kept = gauge("dimensions_kept", "1 while this writer keeps the dimension tables.")
        self.dimension_failures = counter("dimension_failures_total", "Failed attempts to bring them up to date.")
        self.retention_failures = counter("retention_failures_total", "Failed attempts to keep what is to be kept.")
        for write_result in WriteResult._fields:
            self.values.labels(write_result)
        for reason in StopReason:
            self.stopped_partitions.labels(reason.value)


class RegistersMetrics:
    """What operations watch of `metering-writer registers`."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"metering_registers_{name}", text, registry=collectors)

        self.delay_seconds = Gauge(
            "metering_registers_delay_seconds",
            "Age of the oldest note not yet taken: so far the figures are behind the stored values.",
            registry=collectors,
        )
        self.notes = counter("notes_total", "Notes of the writer taken.")
        self.registers = counter("looked_at_total", "Registers looked at because a note named them.")
        self.revised = counter("revised_total", "Registers whose stored events have changed.")
        self.failures = counter("failures_total", "Transactions that the database did not take; they are tried again.")
        self.turn_seconds = Histogram(
            "metering_registers_turn_seconds", "Time of one transaction.", buckets=BATCH_BUCKETS, registry=collectors
        )
