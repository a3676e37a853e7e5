"""Every metric of the validator, with its help text; the counts of invariant 1 are among them."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering_common.service.metrics import BATCH_BUCKETS, COUNT_BUCKETS
from metering_validator.domain.rules import TABLE

STATUSES = ("validated", "dead")
RESULTS = ("accepted", "refused", "not_taken", "repeated")


class Metrics:
    """One per process, on a registry of its own."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.records = Counter(
            "metering_validator_records", "Raw records, by what became of them.", ["status"], registry=collectors
        )
        self.values = Counter(
            "metering_validator_values",
            "Values of validated records: accepted, refused, not_taken or repeated.",
            ["result"],
            registry=collectors,
        )
        self.findings = Counter(
            "metering_validator_findings",
            "Values that a rule refused, left out or marked (records for RV-15), by rule ID.",
            ["rule"],
            registry=collectors,
        )
        for rule in TABLE:
            self.findings.labels(rule.id)
        for status in STATUSES:
            self.records.labels(status)
        for result in RESULTS:
            self.values.labels(result)
        self.lag_seconds = Gauge(
            "metering_validator_lag_seconds",
            "Age of the oldest raw record in flight, by Kafka's time; 0 while nothing is in flight.",
            registry=collectors,
        )
        self.measures = Counter("metering_validator_measures", "Measures of validated records.", registry=collectors)
        self.batch_records = Histogram(
            "metering_validator_batch_records", "Records per batch.", buckets=COUNT_BUCKETS, registry=collectors
        )
        self.batch_seconds = Histogram(
            "metering_validator_batch_seconds",
            "From taking a batch to the last acknowledgement of its outputs.",
            buckets=BATCH_BUCKETS,
            registry=collectors,
        )
        self.registry_waits = Counter(
            "metering_validator_registry_waits",
            "Batches that waited for a registry position that a record names.",
            registry=collectors,
        )
        self.validated_behind = Counter(
            "metering_validator_validated_behind",
            "Batches validated with an older registry than a record names: the position did not come within 2 s.",
            registry=collectors,
        )
        self.publish_retries = Counter(
            "metering_validator_publish_retries", "Batches whose outputs had to be sent again.", registry=collectors
        )
        self.stale_batches = Counter(
            "metering_validator_stale_batches",
            "Batches finished after their partitions had been taken away: validated again by the new owner.",
            registry=collectors,
        )

    def add(self, totals: Mapping[str, int], findings: Mapping[str, int], seconds: float) -> None:
        """One batch. `totals` are records per status, measures, and values per result."""
        for status in STATUSES:
            self.records.labels(status).inc(totals[status])
        for result in RESULTS:
            self.values.labels(result).inc(totals[result])
        for rule, count in findings.items():
            self.findings.labels(rule).inc(count)
        self.measures.inc(totals["measures"])
        self.batch_records.observe(totals["validated"] + totals["dead"])
        self.batch_seconds.observe(seconds)
