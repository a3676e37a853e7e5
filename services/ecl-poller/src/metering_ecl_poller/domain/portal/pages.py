"""The pages of one read put together, and whether they are all of it."""

from typing import NamedTuple

import msgspec

from metering_ecl_poller.domain.portal.errors import AnswerUnreadableError
from metering_ecl_poller.domain.portal.models import ReadingsPage, Sample


class DeviceReading(msgspec.Struct, frozen=True, kw_only=True):
    """What one read brought, in the order of time. Not `complete`: the page cap was reached, there is more behind."""

    samples: tuple[Sample, ...]
    unreadable: tuple[str, ...]
    complete: bool


class ReadingRequest(NamedTuple):
    """Which readings: from when on (inclusive), and past when no further page is needed."""

    device: str
    from_ms: int
    until_ms: int | None = None
    channels: tuple[str, ...] = ()


_Key = tuple[str, str, int, int]
"""Device, channel, time stamp, received time: two samples may have one stamp."""


class PageWalk:
    """One read on its way through its pages."""

    def __init__(self, serial: str) -> None:
        self._serial = serial
        self.pages = 0
        self._samples: dict[_Key, Sample] = {}
        self._moments: set[tuple[str, int, int]] = set()
        self._unreadable: list[str] = []
        self.newest = 0
        self.in_order = True
        self.page_size: int | None = None

    def add(self, page: ReadingsPage) -> None:
        """Raises `AnswerUnreadableError` on a page without a sample that was not on those before."""
        keys = {(one.device, one.channel, one.timestamp_ms, one.received_ms): one for one in page.samples}
        if self.pages and keys and keys.keys() <= self._samples.keys():
            raise AnswerUnreadableError(self._serial, "readings", f"page {self.pages + 1} repeats those before it")
        self.pages += 1
        self.page_size = page.page_size
        self._unreadable += page.unreadable
        self._samples |= keys
        self._moments |= {(one.device, one.timestamp_ms, one.received_ms) for one in page.samples}
        stamps = [sample.timestamp_ms for sample in page.samples]
        self.in_order = self.in_order and min(stamps, default=self.newest) >= self.newest
        self.newest = max(stamps, default=self.newest)

    def is_last(self, page: ReadingsPage) -> bool:
        """By what the portal counts, else by a page that is short by any way of counting.

        Whether the portal counts moments or values is unknown: only moments, the fewer, prove that all is in.
        Raises `AnswerUnreadableError` when it ends with fewer distinct samples than the portal counts.
        """
        if not page.samples and not page.unreadable:
            return self.checked(page)
        if page.total_pages is not None:
            return self.pages >= page.total_pages and self.checked(page)
        if page.total_count is not None:
            return len(self._moments) >= page.total_count
        return page.page_size is not None and len(page.samples) + len(page.unreadable) < page.page_size

    def checked(self, page: ReadingsPage) -> bool:
        """Returns True when no sample is missing by the portal's own count."""
        found = len(self._samples) + len(self._unreadable)
        missing_samples = page.total_count is not None and found < page.total_count
        whole_pages = self.pages - (not page.samples and not page.unreadable)
        missing_pages = page.total_pages is not None and whole_pages < page.total_pages
        if missing_samples or missing_pages:
            counted = f"{page.total_count} samples on {page.total_pages} pages"
            what = f"{found} samples came where the portal counts {counted}: is the first page's number right?"
            raise AnswerUnreadableError(self._serial, "readings", what)
        return True

    def ends_at(self, from_ms: int) -> bool:
        """Returns whether nothing but the moment asked from came, on a page that has room for more."""
        room = self.page_size is None or len(self._samples) < self.page_size
        return room and all(from_ms - 1_000 < one.timestamp_ms < from_ms + 1_000 for one in self._samples.values())

    def passed(self, until_ms: int) -> bool:
        return self.in_order and self.newest > until_ms

    def reading(self, *, complete: bool) -> DeviceReading:
        samples = sorted(self._samples.values(), key=lambda one: (one.timestamp_ms, one.channel, one.received_ms))
        return DeviceReading(samples=tuple(samples), unreadable=tuple(self._unreadable), complete=complete)
