"""Where every service's metrics begin: a registry that says who is running, and how late the event loop is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.process_collector import ProcessCollector

from metering_common.service.clock import Clock
from metering_common.service.metrics import LoopMetrics, ProcessMetrics


def new_collectors(service: str, package: str) -> CollectorRegistry:
    """A registry of this process's own, with `metering_build_info` and the process's memory, CPU and files."""
    collectors = CollectorRegistry()
    ProcessMetrics(collectors).build_info.labels(service, version(package)).set(1)
    ProcessCollector(registry=collectors)
    return collectors


@asynccontextmanager
async def loop_lag(collectors: CollectorRegistry, clock: Clock, every_seconds: float = 1.0) -> AsyncIterator[Gauge]:
    """Keeps a gauge of how many seconds late the event loop wakes a sleeper: above 0.1 something blocks it."""
    gauge = LoopMetrics(collectors).lag_seconds
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
