"""Writes docs/metrics.md: every metric that a measure's way shows, from the metrics.py files that declare them.

Run by `make contracts`; a fast test holds the page equal. The alerts and dashboards name nothing that is not in here.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from metering_auth.metrics import IdentityMetrics, RegistryMetrics
from metering_common.service.metrics import (
    AdminMetrics,
    LoopMetrics,
    PoolMetrics,
    ProcessMetrics,
    PublisherMetrics,
    ReplicaMetrics,
)
from metering_ecl_poller.metrics import PollerMetrics
from metering_ingest_api.metrics import IngestMetrics
from metering_prober.metrics import InspectionMetrics, ProbeMetrics
from metering_validator.metrics import Metrics as ValidatorMetrics
from metering_writer.metrics import RegistersMetrics, WriterMetrics

Declares = Callable[[CollectorRegistry], object]

GROUPS: tuple[tuple[str, str, Sequence[Declares]], ...] = (
    ("Every service", "libs/common", (ProcessMetrics, LoopMetrics, lambda collectors: AdminMetrics(collectors, bool))),
    (
        "What publishes, holds a registry, or has a pool",
        "libs/common",
        (lambda collectors: PublisherMetrics(collectors, int, lambda: None), ReplicaMetrics, PoolMetrics),
    ),
    ("ingest-api", "services/ingest-api", (IngestMetrics,)),
    ("validator", "services/validator", (ValidatorMetrics,)),
    ("writer", "services/writer", (WriterMetrics,)),
    ("registers, the writer's second program", "services/writer", (RegistersMetrics,)),
    ("auth", "services/auth", (IdentityMetrics, RegistryMetrics)),
    ("ecl-poller", "services/ecl-poller", (PollerMetrics,)),
    ("prober", "services/prober", (ProbeMetrics, InspectionMetrics)),
)

HEAD = """\
# Metrics

Written by `make contracts` from the `metrics.py` files; changes here are lost. Every service shows these on its admin
port under `/metrics`, beside the `process_*` figures of prometheus_client (memory, CPU, open files, start time).

Names follow Prometheus' conventions: a unit in the name, `_total` for what only grows, one base unit (seconds, bytes).
No label takes unbounded values: none is a device, a gateway, a batch or a path, and a provider is one because only
operations make providers. A histogram has the series `_bucket`, `_sum` and `_count`.
"""

FOREIGN = {
    "ALERTS": "of Prometheus itself: the alerts that are pending or firing",
    "up": "of Prometheus itself: 1 while the target answers",
    "process_start_time_seconds": "of prometheus_client: when the process began",
    "process_resident_memory_bytes": "of prometheus_client: memory of the process",
    "process_cpu_seconds_total": "of prometheus_client: CPU time of the process",
    "process_open_fds": "of prometheus_client: open files",
    "process_max_fds": "of prometheus_client: how many files may be open",
    "kubelet_volume_stats_available_bytes": "of the kubelet: room left on a volume",
    "kubelet_volume_stats_capacity_bytes": "of the kubelet: size of a volume",
}
"""What alerts and dashboards use beside our own."""


class Declared(NamedTuple):
    """One metric as its metrics.py declares it; `name` is the one in queries, without a histogram's endings."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def declared(declares: Sequence[Declares]) -> list[Declared]:
    """What these classes put on a registry, sorted by name."""
    collectors = CollectorRegistry()
    keep = [declare(collectors) for declare in declares]
    return sorted(set(_read(collectors))) if keep else []


@functools.cache
def query_names() -> set[str]:
    """Every series name that a query may use."""
    names = set(FOREIGN)
    for _, _, declares in GROUPS:
        for metric in declared(declares):
            endings = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
            names |= {metric.name + ending for ending in endings}
    return names


def page() -> str:
    """The whole document."""
    return HEAD + "".join(_group(*group) for group in GROUPS) + _foreign()


def _read(collectors: CollectorRegistry) -> Iterator[Declared]:
    for collector in collectors._collector_to_names:  # noqa: SLF001  the registry tells names and help, but no labels
        if isinstance(collector, MetricWrapperBase):
            kind = str(collector._type)  # noqa: SLF001  as above
            name = collector._name + ("_total" if kind == "counter" else "")  # noqa: SLF001  as above
            yield Declared(name, kind, tuple(collector._labelnames), collector._documentation)  # noqa: SLF001  as above


def _group(title: str, folder: str, declares: Sequence[Declares]) -> str:
    rows = "".join(
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.text} |\n"
        for metric in declared(declares)
    )
    head = "| metric | kind | labels | what it tells |\n|---|---|---|---|\n"
    return f"\n## {title}\n\nDeclared in [{folder}](../{folder}).\n\n{head}{rows}"


def _foreign() -> str:
    rows = "".join(f"| `{name}` | {text} |\n" for name, text in FOREIGN.items())
    head = "| metric | what |\n|---|---|\n"
    return f"\n## Of others\n\nUsed by the alerts and dashboards, declared elsewhere.\n\n{head}{rows}"


if __name__ == "__main__":
    print(page(), end="")
