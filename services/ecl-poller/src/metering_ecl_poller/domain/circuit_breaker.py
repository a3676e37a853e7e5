"""How long a whole portal is left in peace: after a 429, and when it answers nobody."""

FAILURES_TO_PAUSE = 20  # in a row, whosever controllers they were
FIRST_PAUSE_SECONDS = 15.0
LONGEST_PAUSE_SECONDS = 300.0
BUSY_PAUSE_SECONDS = 30.0  # when a 429 names no time


class PortalCircuitBreaker:
    """One per process; seconds are the monotonic clock's."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._until: dict[str, float] = {}
        self._pause: dict[str, float] = {}

    def resting(self, now: float) -> list[str]:
        """Portals of which no controller should be taken now."""
        return [portal for portal, until in self._until.items() if now < until]

    def answered(self, portal: str) -> None:
        """Any answer that is not a failure of the portal as a whole."""
        self._failures.pop(portal, None)
        self._pause.pop(portal, None)

    def busy(self, portal: str, now: float, retry_after: float | None) -> None:
        pause = BUSY_PAUSE_SECONDS if retry_after is None else min(retry_after, LONGEST_PAUSE_SECONDS)
        self._until[portal] = max(self._until.get(portal, now), now + pause)

    def failed(self, portal: str, now: float) -> None:
        """Each further round of failures doubles the pause."""
        self._failures[portal] = self._failures.get(portal, 0) + 1
        if self._failures[portal] >= FAILURES_TO_PAUSE:
            self._failures[portal] = 0
            pause = self._pause.get(portal, FIRST_PAUSE_SECONDS)
            self._until[portal] = now + pause
            self._pause[portal] = min(2 * pause, LONGEST_PAUSE_SECONDS)
