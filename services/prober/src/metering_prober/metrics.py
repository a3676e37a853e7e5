"""Every metric of the prober, with its help text: what a gateway and an analyst would see of the platform."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering_common.service.metrics import LATENCY_BUCKETS

QUERYABLE_BUCKETS = (0.25, 0.5, 1, 2, 3, 5, 10, 20, 60)  # seconds; 5 is the promise
RESULTS = ("ok", "late", "refused", "unanswered", "no_token", "unreadable")
INSPECTIONS = ("accounts", "refusals", "silence", "jobs", "sizes", "certificates")


class ProbeMetrics:
    """The known series: sent through the public API, read back from SQL."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.enrolled = Gauge(
            "metering_prober_enrolled", "1 while the prober has a token that the platform takes.", registry=collectors
        )
        self.probes = Counter(
            "metering_prober_probes",
            "Probes by result: ok, late (201 but not in SQL in time), refused, unanswered, no_token, unreadable (SQL).",
            ["result"],
            registry=collectors,
        )
        self.request_seconds = Histogram(
            "metering_prober_request_seconds",
            "From sending a probe to its answer.",
            buckets=LATENCY_BUCKETS,
            registry=collectors,
        )
        self.queryable_seconds = Histogram(
            "metering_prober_queryable_seconds",
            "From sending a probe to reading it in SQL.",
            buckets=QUERYABLE_BUCKETS,
            registry=collectors,
        )
        self.last_success_timestamp_seconds = Gauge(
            "metering_prober_last_success_timestamp_seconds", "When a probe was last read in SQL.", registry=collectors
        )
        self.missing = Gauge(
            "metering_prober_series_missing_measures",
            "Measures of the last day that were answered with 201 and are not in SQL.",
            registry=collectors,
        )
        self.wrong = Gauge(
            "metering_prober_series_wrong_measures",
            "Measures of the last day that SQL has with another value or quality than sent.",
            registry=collectors,
        )
        for result in RESULTS:
            self.probes.labels(result)


class InspectionMetrics:
    """What only SQL and the servers' certificates know; a gauge keeps its last value while its inspection fails."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"metering_prober_{name}", text, labels, registry=collectors)

        self.failures = Counter(
            "metering_prober_inspection_failures",
            "Inspections that could not be made.",
            ["inspection"],
            registry=collectors,
        )
        self.unaccounted = gauge(
            "unaccounted_records",
            "Raw records of the last two hours that have no row in the ledger: invariant 1 is broken.",
        )
        self.refused_ratio = gauge(
            "provider_refused_ratio", "Values refused of those validated in the last hour, 0 to 1.", "provider"
        )
        self.provider_values = gauge("provider_values", "Values validated in the last hour.", "provider")
        self.gateways = gauge("gateways", "Gateways that sent within the last week, by state.", "state")
        self.devices = gauge("devices", "Active devices with an expected interval, by state.", "state")
        self.job_failed = gauge("storage_job_failed", "1 while the last run of TimescaleDB's job failed.", "policy")
        self.job_success_timestamp = gauge(
            "storage_job_last_success_timestamp_seconds", "When TimescaleDB's job last succeeded.", "policy"
        )
        self.relation_bytes = gauge("relation_bytes", "Size of a table with its indexes and chunks.", "relation")
        self.database_bytes = gauge("database_bytes", "Size of the storage database.")
        self.certificate_expiry = gauge(
            "certificate_expiry_timestamp_seconds", "When a server's certificate ends.", "server"
        )
        for inspection in INSPECTIONS:
            self.failures.labels(inspection)
