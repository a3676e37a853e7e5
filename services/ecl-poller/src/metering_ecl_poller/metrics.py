"""Every metric of the poller, with its help text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering_common.telemetry import LATENCY_BUCKETS


class PollerMetrics:
    """One per process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.polls = Counter(
            "ecl_polls",
            "Controllers asked, by what came of it: done, or the kind of error.",
            ["result"],
            registry=registry,
        )
        self.poll_seconds = Histogram(
            "ecl_poll_seconds", "One controller, all its devices.", buckets=LATENCY_BUCKETS, registry=registry
        )
        self.answers = Counter(
            "ecl_answers", "Answers of the portals, by call and HTTP status.", ["call", "status"], registry=registry
        )
        self.samples = Counter("ecl_samples", "Samples handed over, overlaps included.", registry=registry)
        self.records = Counter("ecl_records", "Records acknowledged on measurements.raw.v1.", registry=registry)
        self.unreadable = Counter(
            "ecl_unreadable_samples", "Samples the dialect could not read; the answer is kept.", registry=registry
        )
        self.clock_doubtful = Counter(
            "ecl_clock_doubtful", "Reads whose samples carry doubtful time stamps.", ["state"], registry=registry
        )
        self.gaps = Counter("ecl_gaps", "Holes newly recorded, per channel.", ["reason"], registry=registry)
        self.controllers = Gauge(
            "ecl_controllers", "Controllers by state; disabled is one of them.", ["state"], registry=registry
        )
        self.overdue_seconds = Gauge(
            "ecl_overdue_seconds", "How late the controller is that has waited longest.", registry=registry
        )
        self.in_hand = Gauge("ecl_polls_in_hand", "Controllers being asked.", registry=registry)
