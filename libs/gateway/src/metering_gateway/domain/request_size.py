"""How large a request may be on this line: smaller after one that it could not carry, larger again while it can."""

from dataclasses import dataclass

from metering_gateway.domain.packing import MAX_BODY_BYTES

_STEADY_DELIVERIES = 8  # after a request that was too slow, before a larger one is tried
MIN_BODY_BYTES = 200  # below it a request carries one measure anyway


@dataclass(slots=True)
class RequestSize:
    """`body_bytes`: of JSON before compression; what `packing.pack` may fill. One measure always fits.

    `answer_seconds`: the time that one request has. A request that needed more than it halves the size; one that
    filled the size and needed less than a quarter of it doubles the size, once some in a row were carried: a line that
    recovers is used again.
    """

    answer_seconds: float
    body_bytes: int = MAX_BODY_BYTES
    _steady: int = _STEADY_DELIVERIES

    def too_slow(self, sent_bytes: int) -> None:
        """The line did not carry a request of `sent_bytes` in time."""
        self._steady = 0
        self.body_bytes = max(MIN_BODY_BYTES, min(sent_bytes, self.body_bytes) // 2)

    def delivered(self, sent_bytes: int, seconds: float) -> None:
        """A request of `sent_bytes` was answered after `seconds`."""
        self._steady += 1
        grows = 2 * sent_bytes >= self.body_bytes and seconds < self.answer_seconds / 4
        if grows and self._steady > _STEADY_DELIVERIES:
            self.body_bytes = min(MAX_BODY_BYTES, 2 * self.body_bytes)
