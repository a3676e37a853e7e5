"""Pauses between attempts, for whoever tries again: pure, so that a domain can decide with it."""

from dataclasses import dataclass

_LONGEST_EXPONENT = 30  # beyond it any pause is the longest one


@dataclass(frozen=True)
class Backoff:
    """Pauses between attempts: each is twice the one before, up to the longest."""

    first_seconds: float = 0.1
    longest_seconds: float = 5.0

    def pause_seconds(self, failures: int) -> float:
        """After so many failures in a row, the first one counted as 0."""
        return min(self.first_seconds * 2.0 ** min(failures, _LONGEST_EXPONENT), self.longest_seconds)
