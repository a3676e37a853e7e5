"""Every metric of ingest-api. Labels are route templates, statuses and codes: never a device, a gateway or a path."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering_common.service.metrics import LATENCY_BUCKETS


class IngestMetrics:
    """One set per process."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.requests = Counter(
            "metering_ingest_requests", "Answers given.", ["method", "route", "status"], registry=collectors
        )
        self.seconds = Histogram(
            "metering_ingest_request_seconds",
            "From the request's head to its answer, waiting for a result left out.",
            ["route"],
            buckets=LATENCY_BUCKETS,
            registry=collectors,
        )
        self.problems = Counter(
            "metering_ingest_problems", "Requests answered with a problem.", ["route", "code"], registry=collectors
        )
        self.records = Counter(
            "metering_ingest_records_enqueued", "Records acknowledged under a 201.", registry=collectors
        )
        self.measures = Counter("metering_ingest_measures_enqueued", "Measures under a 201.", registry=collectors)
        self.values = Counter(
            "metering_ingest_values_enqueued",
            "Values under a 201, whatever stood in `sensorValues`.",
            registry=collectors,
        )
        self.body_bytes = Counter("metering_ingest_body_bytes", "Bytes of bodies read, inflated.", registry=collectors)
        self.in_flight_bytes = Gauge(
            "metering_ingest_in_flight_bytes", "Bytes of all requests in work.", registry=collectors
        )
        self.in_flight_requests = Gauge(
            "metering_ingest_in_flight_requests",
            "Measurements requests and look-ups of results in work.",
            registry=collectors,
        )
        self.connections = Gauge("metering_ingest_connections", "Connections held.", registry=collectors)
        self.connections_cut = Counter(
            "metering_ingest_connections_cut",
            "Connections closed on us by our own rule.",
            ["reason"],
            registry=collectors,
        )
        self.tokens = Gauge("metering_ingest_verified_tokens", "Tokens remembered as verified.", registry=collectors)
        self.waiting = Gauge("metering_ingest_waiting", "Requests that wait for their result.", registry=collectors)
        self.waits = Counter(
            "metering_ingest_waits", "Ends of waits: told, late, not_watched.", ["end"], registry=collectors
        )
        self.outcomes_read = Counter(
            "metering_ingest_outcomes_read", "Outcomes read, by tail or scan.", ["by"], registry=collectors
        )
        self.scan_bytes = Counter(
            "metering_ingest_scan_bytes", "Bytes read to look batches up, charged to who asks.", registry=collectors
        )
        self.scan_seconds = Histogram(
            "metering_ingest_scan_seconds", "Looking a batch up.", buckets=LATENCY_BUCKETS, registry=collectors
        )
        for reason in ("no_http", "head_too_slow", "too_many"):
            self.connections_cut.labels(reason)
        for end in ("told", "late", "not_watched"):
            self.waits.labels(end)
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answer; the labelled children are kept, since finding them costs more than counting."""
        children = self._known.get((method, route, status))
        if children is None:
            children = self.requests.labels(method, route, str(status)), self.seconds.labels(route)
            self._known[method, route, status] = children
        children[0].inc()
        children[1].observe(seconds)
