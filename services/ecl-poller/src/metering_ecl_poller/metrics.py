"""Every metric of the poller, with its help text."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering_common.service.metrics import LATENCY_BUCKETS
from metering_ecl_poller.domain.clock_check import ClockState
from metering_ecl_poller.domain.gaps import GapReason

STATES = ("new", "polled", "failing", "denied", "disabled")
RESULTS = ("done", "unreachable", "busy", "denied", "refused", "moved", "unreadable", "ours", "defect")


class PollerMetrics:
    """One per process."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.polls = Counter(
            "metering_ecl_polls",
            "Controllers asked, by what came of it: done, or the kind of error.",
            ["result"],
            registry=collectors,
        )
        self.poll_seconds = Histogram(
            "metering_ecl_poll_seconds",
            "One controller, all its devices.",
            buckets=LATENCY_BUCKETS,
            registry=collectors,
        )
        self.answers = Counter(
            "metering_ecl_answers",
            "Answers of the portals, by call and HTTP status.",
            ["call", "status"],
            registry=collectors,
        )
        self.samples = Counter("metering_ecl_samples", "Samples published, overlaps included.", registry=collectors)
        self.records = Counter(
            "metering_ecl_records", "Records acknowledged on measurements.raw.v1.", registry=collectors
        )
        self.unreadable = Counter(
            "metering_ecl_unreadable_samples",
            "Samples the dialect could not read; the answer is kept.",
            registry=collectors,
        )
        self.clock_doubtful = Counter(
            "metering_ecl_clock_doubtful_reads",
            "Reads whose samples carry doubtful time stamps.",
            ["state"],
            registry=collectors,
        )
        self.gaps = Counter("metering_ecl_gaps", "Holes newly recorded, per channel.", ["reason"], registry=collectors)
        self.controllers = Gauge(
            "metering_ecl_controllers", "Controllers by state; disabled is one of them.", ["state"], registry=collectors
        )
        self.overdue_seconds = Gauge(
            "metering_ecl_overdue_seconds", "How late the controller is that has waited longest.", registry=collectors
        )
        self.held_channels = Gauge(
            "metering_ecl_held_channels",
            "Channels whose values wait: not in the mapping, another unit, or the device is not registered.",
            registry=collectors,
        )
        for reason in GapReason:
            self.gaps.labels(reason)
        for state in ClockState:
            if state is not ClockState.RIGHT:
                self.clock_doubtful.labels(state)
        for result in RESULTS:
            self.polls.labels(result)
        self.in_flight = Gauge("metering_ecl_polls_in_flight", "Controllers being asked.", registry=collectors)
