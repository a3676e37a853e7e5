"""What all services' metrics have in common: bucket bounds, who is running, and how late the event loop is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.process_collector import ProcessCollector

from metering_common.clock import Clock

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # seconds, one request
BATCH_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds, one Kafka batch
SIZE_BUCKETS = (1_000, 10_000, 100_000, 250_000, 500_000, 1_000_000, 4_000_000)  # bytes
COUNT_BUCKETS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500)  # things per batch


def new_registry(service: str, package: str) -> CollectorRegistry:
    """A registry of this process's own, with `metering_build_info` and the process's memory, CPU and files."""
    registry = CollectorRegistry()
    build = Gauge("metering_build_info", "Always 1; says what runs.", ["service", "version"], registry=registry)
    build.labels(service, version(package)).set(1)
    ProcessCollector(registry=registry)
    return registry


@asynccontextmanager
async def loop_lag(registry: CollectorRegistry, clock: Clock, every_seconds: float = 1.0) -> AsyncIterator[Gauge]:
    """Keeps a gauge of how many seconds late the event loop wakes a sleeper: above 0.1 something blocks it."""
    gauge = Gauge("metering_event_loop_lag_seconds", "How late the event loop wakes a sleeper.", registry=registry)
    watching = asyncio.create_task(_watch(gauge, clock, every_seconds))
    try:
        yield gauge
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _watch(gauge: Gauge, clock: Clock, every_seconds: float) -> None:
    while True:
        asleep_since = clock.monotonic()
        await asyncio.sleep(every_seconds)
        gauge.set(max(0.0, clock.monotonic() - asleep_since - every_seconds))
