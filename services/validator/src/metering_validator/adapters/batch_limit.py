"""When a batch is full: Faust counts records only, and 500 of them are one megabyte or five hundred."""

from collections.abc import Sequence
from typing import Any, Self

from faust.types import EventT


class BatchLimit(int):
    """So many records, or as many as reach a number of bytes: `take_events` compares its buffer's length with this.

    Python asks the subclass of `int` first in `length >= limit`, so that nothing of Faust has to be replaced. `came`
    is the stream's first processor: what it has counted stands in the buffer when the comparison is made.
    """

    _largest: int
    _bytes: int

    def __new__(cls, records: int, size_bytes: int) -> Self:
        limit = super().__new__(cls, records)
        limit._largest = size_bytes
        limit._bytes = 0
        return limit

    def came(self, value: bytes | None) -> bytes | None:
        """Faust gives each record's value here before it goes into the buffer."""
        self._bytes += len(value or b"")
        return value

    def taken(self, events: Sequence[EventT[bytes]]) -> None:
        """These have left the buffer; what came meanwhile is counted for the next batch."""
        self._bytes -= sum(len(event.value or b"") for event in events)

    def __le__(self, records: Any) -> bool:
        return self._bytes >= self._largest or super().__le__(records)
