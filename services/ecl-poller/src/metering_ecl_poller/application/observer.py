"""Reports what a poll finds: log lines when something begins or ends, and a count every time."""

from collections.abc import Sequence

import structlog

from metering_common.service.tracing import trace_id
from metering_ecl_poller.domain.clock_check import ClockFinding, ClockState
from metering_ecl_poller.domain.elements import PortalElement
from metering_ecl_poller.domain.job import DeviceProgress, PollJob, RecordedProgress
from metering_ecl_poller.domain.portal.models import PortalDevice
from metering_ecl_poller.metrics import PollerMetrics

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Observer:
    """Logs and metrics of the polls of one process."""

    def __init__(self, metrics: PollerMetrics) -> None:
        self._metrics = metrics

    def device_gone(self, job: PollJob, device: str) -> None:
        log.warning("device.gone", controller=job.serial, device=device)

    def published(
        self, job: PollJob, device: PortalDevice, elements: Sequence[PortalElement], batches: Sequence[str]
    ) -> None:
        """The step that `make follow` prints."""
        self._metrics.records.inc(len(elements))
        log.info(
            "samples.published",
            controller=job.serial,
            device=device.id,
            batch_ids=batches,
            trace_id=trace_id(job.traceparent),
            records=len(elements),
            values=sum(element.values for element in elements),
        )

    def read(self, samples: int, unreadable: int) -> None:
        self._metrics.samples.inc(samples)
        self._metrics.unreadable.inc(unreadable)

    def recorded(self, job: PollJob, progress: DeviceProgress, recorded: RecordedProgress) -> None:
        """New gaps and new problems only."""
        for reason in recorded.gaps:
            self._metrics.gaps.labels(reason).inc()
        if recorded.gaps:
            reasons = sorted(set(recorded.gaps))
            log.warning(
                "gap.recorded", controller=job.serial, device=progress.device, gaps=len(recorded.gaps), reasons=reasons
            )
        if progress.problem is not None and recorded.problem_is_new:
            log.warning("device.problem", controller=job.serial, device=progress.device, problem=progress.problem)

    def clock(self, job: PollJob, finding: ClockFinding) -> None:
        """A line when the state changes, a count every time that the clock is not right."""
        if finding.state is not ClockState.RIGHT:
            self._metrics.clock_doubtful.labels(finding.state).inc()
        if finding.state != (job.clock_state or ClockState.RIGHT):
            minutes = round(finding.offset_ms / 60_000)
            log.warning("clock.changed", controller=job.serial, state=finding.state, behind_minutes=minutes)
