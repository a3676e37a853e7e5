"""The metrics that several services show, with their help texts: process, admin port, pools, publisher, replica."""

import time
from collections.abc import Callable
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds, one request
BATCH_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds, one Kafka batch
COUNT_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500)  # things per batch
REVOCATION_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30)  # seconds; 2 are promised


class ProcessMetrics:
    """What each process shows of itself; memory, CPU and files come from prometheus_client's own collector."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.build_info = Gauge(
            "metering_build_info", "Always 1; says what runs.", ["component", "version"], registry=collectors
        )
        clock = Gauge(
            "metering_clock_timestamp_seconds",
            "This process's wall clock at the scrape; Prometheus' own time is compared with it.",
            registry=collectors,
        )
        clock.set_function(time.time)


class LoopMetrics:
    """The event loop's health."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.lag_seconds = Gauge(
            "metering_event_loop_lag_seconds", "How late the event loop wakes a sleeper.", registry=collectors
        )


class AdminMetrics:
    """What the admin port says of itself."""

    def __init__(self, collectors: CollectorRegistry, ready: Callable[[], bool]) -> None:
        gauge = Gauge("metering_ready", "1 while /readyz answers 200.", registry=collectors)
        gauge.set_function(lambda: float(ready()))


class PublisherMetrics:
    """What every publishing service shows."""

    def __init__(
        self, collectors: CollectorRegistry, in_flight: Callable[[], int], unavailable: Callable[[], str | None]
    ) -> None:
        self.published = Counter(
            "metering_published_records",
            "Records acknowledged by all replicas in sync.",
            ["topic"],
            registry=collectors,
        )
        self.refused = Counter(
            "metering_publish_refused", "Calls without all acknowledgements.", ["reason"], registry=collectors
        )
        self.seconds = Histogram(
            "metering_publish_seconds",
            "From the call to the last acknowledgement.",
            buckets=LATENCY_BUCKETS,
            registry=collectors,
        )
        self.remade = Counter("metering_publish_producers_remade", "Producers recreated.", registry=collectors)
        bytes_in_flight = Gauge(
            "metering_publish_in_flight_bytes", "Bytes sent and not yet acknowledged.", registry=collectors
        )
        bytes_in_flight.set_function(in_flight)
        breaker = Gauge("metering_publish_unavailable", "1 while calls are refused at once.", registry=collectors)
        breaker.set_function(lambda: unavailable() is not None)
        for reason in ("deadline", "breaker_open", "in_flight", "failed", "closed", "too_large"):
            self.refused.labels(reason)
        self._by_topic: dict[str, Counter] = {}

    def count_published(self, topic: str, records: int) -> None:
        """Looking a label up costs more than counting."""
        if topic not in self._by_topic:
            self._by_topic[topic] = self.published.labels(topic)
        self._by_topic[topic].inc(records)


class ReplicaMetrics:
    """How near a registry in memory is to its topic. `checked_age_seconds` grows while Kafka does not answer."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.behind_records = Gauge(
            "metering_registry_replica_behind_records",
            "Positions between this replica and the end of registry.v1, looked at every 5 s.",
            registry=collectors,
        )
        self.checked_age_seconds = Gauge(
            "metering_registry_replica_checked_age_seconds",
            "Seconds since Kafka last told the end of registry.v1.",
            registry=collectors,
        )
        self.revocation_delay_seconds = Histogram(
            "metering_registry_replica_revocation_delay_seconds",
            "Time from a change of a provider, gateway or key in auth's database to this replica's memory.",
            buckets=REVOCATION_BUCKETS,
            registry=collectors,
        )
        self.devices = Gauge("metering_registry_replica_devices", "Devices in memory.", registry=collectors)
        self.unreadable = Counter(
            "metering_registry_replica_unreadable_records",
            "Registry records that this release cannot read; the documents before them stay.",
            registry=collectors,
        )


class Sized(Protocol):
    """The part of asyncpg's pool that is measured."""

    def get_size(self) -> int: ...

    def get_idle_size(self) -> int: ...

    def get_max_size(self) -> int: ...


class PoolMetrics:
    """Connections to PostgreSQL, by pool; one object per process."""

    def __init__(self, collectors: CollectorRegistry) -> None:
        self.in_use = Gauge(
            "metering_database_pool_in_use_connections", "Connections at work.", ["pool"], registry=collectors
        )
        self.limit = Gauge(
            "metering_database_pool_max_connections", "The pool's limit of connections.", ["pool"], registry=collectors
        )

    def watch(self, name: str, pool: Sized) -> None:
        """From now on the pool's figures are asked at each scrape."""
        self.in_use.labels(name).set_function(lambda: pool.get_size() - pool.get_idle_size())
        self.limit.labels(name).set(pool.get_max_size())
