"""Memory stays bounded: the bytes of all requests in work are counted while they are read, inflated and enqueued."""

from metering_ingest_api.domain.problems import unavailable

RETRY_AFTER_SECONDS = 1


class InFlight:
    """One count for the pod."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0

    def open(self) -> "Share":
        """One request's part of it, to be let go at its end."""
        return Share(self)


class Share:
    """What one request holds."""

    __slots__ = ("_all", "bytes")

    def __init__(self, everything: InFlight) -> None:
        self._all = everything
        self.bytes = 0

    def hold(self, size: int) -> None:
        """Raises a 503 `Problem` when there is no room."""
        if self._all.bytes + size > self._all.max_bytes:
            raise unavailable(
                "in_flight", f"more than {self._all.max_bytes} bytes are in flight", RETRY_AFTER_SECONDS, "in_flight"
            )
        self._all.bytes += size
        self.bytes += size

    def let_go(self) -> None:
        self._all.bytes -= self.bytes
        self.bytes = 0
