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


class PageWalk:
    """One read on its way through its pages."""

    def __init__(self, serial: str) -> None:
        self._serial = serial
        self._pages = 0
        self._previous: tuple[Sample, ...] = ()
        self._samples: dict[tuple[str, str, int], Sample] = {}
        self._moments: set[tuple[str, int]] = set()
        self._unreadable: list[str] = []
        self._newest = 0
        self.in_order = True

    def add(self, page: ReadingsPage) -> None:
        if page.samples and page.samples == self._previous:
            raise AnswerUnreadableError(self._serial, "readings", f"page {self._pages + 1} repeats the one before it")
        self._pages += 1
        self._previous = page.samples
        self._unreadable += page.unreadable
        for sample in page.samples:
            self._samples[sample.device, sample.channel, sample.timestamp_ms] = sample
            self._moments.add((sample.device, sample.timestamp_ms))
        stamps = [sample.timestamp_ms for sample in page.samples]
        self.in_order = self.in_order and min(stamps, default=self._newest) >= self._newest
        self._newest = max(stamps, default=self._newest)

    def is_last(self, page: ReadingsPage) -> bool:
        """By what the portal counts, else by a page that is short by any way of counting.

        Whether the portal counts moments or values is unknown: only moments, the fewer, prove that all is in.
        """
        if not page.samples and not page.unreadable:
            return self._all_there(page)
        if page.total_pages is not None:
            return self._pages >= page.total_pages
        if page.total_count is not None:
            return len(self._moments) >= page.total_count
        return page.page_size is not None and len(page.samples) + len(page.unreadable) < page.page_size

    def _all_there(self, page: ReadingsPage) -> bool:
        found = len(self._samples) + len(self._unreadable)
        missing_samples = page.total_count is not None and found < page.total_count
        missing_pages = page.total_pages is not None and self._pages - 1 < page.total_pages
        if missing_samples or missing_pages:
            counted = f"{page.total_count} samples on {page.total_pages} pages"
            what = f"{found} samples came where the portal counts {counted}: is the first page's number right?"
            raise AnswerUnreadableError(self._serial, "readings", what)
        return True

    def passed(self, until_ms: int) -> bool:
        return self.in_order and self._newest > until_ms

    def reading(self, *, complete: bool) -> DeviceReading:
        samples = sorted(self._samples.values(), key=lambda sample: (sample.timestamp_ms, sample.channel))
        return DeviceReading(samples=tuple(samples), unreadable=tuple(self._unreadable), complete=complete)
