"""What follows from how a poll ended: when the controller is asked again, or that it is not."""

from metering_ecl_poller.domain.job import PollJob, PollResult
from metering_ecl_poller.domain.portal.errors import AccessDeniedError, PortalBusyError
from metering_ecl_poller.domain.schedule import next_due_ms, retry_due_ms

MAX_REASON = 500  # characters


def succeeded(job: PollJob, now_ms: int) -> PollResult:
    return PollResult(
        state="polled", reason=None, attempts=0, next_due_ms=next_due_ms(job.serial, now_ms), polled_at_ms=now_ms
    )


def failed(job: PollJob, error: Exception, now_ms: int) -> PollResult:
    """Refused codes end the asking until a person tests or replaces them; everything else is tried again."""
    attempts = job.attempts + 1
    retry = round((error.retry_after_seconds or 0) * 1_000) if isinstance(error, PortalBusyError) else 0
    return PollResult(
        state="denied" if isinstance(error, AccessDeniedError) else "failing",
        reason=str(error)[:MAX_REASON],
        attempts=attempts,
        next_due_ms=retry_due_ms(job.serial, now_ms, attempts, retry),
        polled_at_ms=None,
    )
