"""What follows from how a poll ended: when the controller is asked again, or that it is not."""

from metering_ecl_poller.domain.job import PollJob, PollResult
from metering_ecl_poller.domain.portal.errors import (
    AccessDeniedError,
    AnswerUnreadableError,
    PortalBusyError,
    PortalRefusedError,
    PortalUnreachableError,
)
from metering_ecl_poller.domain.schedule import next_due_ms, retry_due_ms

MAX_REASON = 500  # characters
DENIED_RETRY_MS = 24 * 3_600_000
SOON_RETRIES = 4


def succeeded(job: PollJob, now_ms: int) -> PollResult:
    return PollResult(
        state="polled", reason=None, attempts=0, next_due_ms=next_due_ms(job.serial, now_ms), polled_at_ms=now_ms
    )


def failed(job: PollJob, error: Exception, now_ms: int) -> PollResult:
    """Refused codes are tried once a day, in case the refusal was not the portal's; everything else is retried soon.

    After some retries a request that is answered and fails (one device of several) waits for its hour.
    """
    attempts = job.attempts + 1
    wait = round((error.retry_after_seconds or 0) * 1_000) if isinstance(error, PortalBusyError) else 0
    due = retry_due_ms(job.serial, now_ms, attempts, wait)
    if isinstance(error, AccessDeniedError):
        due = now_ms + DENIED_RETRY_MS
    elif attempts > SOON_RETRIES and _is_answered(error):
        due = next_due_ms(job.serial, now_ms)
    return PollResult(
        state="denied" if isinstance(error, AccessDeniedError) else "failing",
        reason=str(error)[:MAX_REASON],
        attempts=attempts,
        next_due_ms=due,
        polled_at_ms=None,
    )


def _is_answered(error: Exception) -> bool:
    if isinstance(error, PortalUnreachableError):
        return error.answered
    return isinstance(error, PortalRefusedError | AnswerUnreadableError)
