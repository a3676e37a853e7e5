"""How long the client waits before it sends again: what the platform asked for, or a back-off, always with jitter."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackOff:
    """Seconds: the first wait, and the longest one that the client chooses by itself."""

    first_seconds: float = 1.0
    longest_seconds: float = 300.0

    def delay(self, failures: int, retry_after: float | None, jitter: float) -> float:
        """Seconds to wait after `failures` (at least 1) in a row; `jitter` is a random number in [0, 1).

        Doubling, spread over its upper half, so that gateways which lost the same server do not return together.
        What `Retry-After` says is never undercut; the spread above it grows with the failures, at least a quarter.
        """
        own = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 30))
        if retry_after is None:
            return own * (0.5 + 0.5 * jitter)
        return retry_after + jitter * max(own, retry_after / 4)
