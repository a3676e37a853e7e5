"""How long a whole portal is left in peace: after a 429, and when it answers nobody."""

from metering_common.service.backoff import Backoff

FAILURES_TO_PAUSE = 20  # in a row, whosever controllers they were
PAUSES = Backoff(first_seconds=15, longest_seconds=300)
BUSY_PAUSE_SECONDS = 30.0  # when a 429 names no time


class PortalCircuitBreaker:
    """One per process; seconds are the monotonic clock's."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}
        self._rounds: dict[str, int] = {}

    def resting(self, now: float) -> list[str]:
        """Portals of which no controller should be taken now."""
        return [portal for portal, until in self._until.items() if now < until]

    def answered(self, portal: str) -> None:
        """Any answer that is not a failure of the portal as a whole."""
        self._failures.pop(portal, None)
        self._rounds.pop(portal, None)

    def busy(self, portal: str, now: float, retry_after: float | None) -> None:
        pause = BUSY_PAUSE_SECONDS if retry_after is None else min(retry_after, PAUSES.longest_seconds)
        self._until[portal] = max(self._until.get(portal, now), now + pause)

    def failed(self, portal: str, now: float) -> None:
        """Each further round of failures doubles the pause."""
        self._failures[portal] = self._failures.get(portal, 0) + 1
        if self._failures[portal] >= FAILURES_TO_PAUSE:
            self._failures[portal] = 0
            rounds = self._rounds.get(portal, 0)
            self._until[portal] = now + PAUSES.pause_seconds(rounds)
            self._rounds[portal] = rounds + 1
