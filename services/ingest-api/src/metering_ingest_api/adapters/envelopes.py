"""Requests leave for Kafka together: what comes while an envelope is on its way gathers in the next one.

There is no timer. With little load an envelope holds one request and nothing waits; with much, the requests of one
round trip share a record, whose price is then paid once, here and in every service behind.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Protocol, Self

import structlog

from metering_common.contract.envelope import ENVELOPE_BYTES, PackedEntry
from metering_common.contract.topics import RAW
from metering_common.kafka.envelopes import raw_record
from metering_common.kafka.publisher import PublishUnavailableError, Record, RecordTooLargeError
from metering_common.service.clock import Clock
from metering_ingest_api.metrics import IngestMetrics

MAX_IN_FLIGHT = 8
"""Envelopes on their way at once, each to a partition of its own."""
SLOW_SECONDS = 0.02
"""An envelope that is on its way for longer is not waited for by what came since: one slow broker is not all."""
_REQUEST_OVERHEAD_BYTES = 512
_ENTRY_OVERHEAD_BYTES = 16

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Publisher(Protocol):
    """What is asked of `metering_common.kafka.publisher.Publisher`."""

    def hold(self, size: int) -> None: ...

    def let_go(self, size: int) -> None: ...

    async def partitions(self, topic: str) -> int: ...

    async def publish(self, records: Sequence[Record]) -> None: ...


class _Request:
    """Entries that are acknowledged together."""

    __slots__ = ("entries", "finished", "size")

    def __init__(self, entries: Sequence[PackedEntry]) -> None:
        self.entries = entries
        self.size = _REQUEST_OVERHEAD_BYTES + sum(
            [len(metadata) + len(value) + _ENTRY_OVERHEAD_BYTES for metadata, value in entries]
        )
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, error: Exception | None) -> None:
        """Whoever still waits is answered."""
        if self.finished.done():
            return
        if error is None:
            self.finished.set_result(None)
        else:
            self.finished.set_exception(error)


class EnvelopePublisher:
    """Calls may run side by side; each ends with the envelope that carries its entries."""

    def __init__(self, publisher: Publisher, clock: Clock, metrics: IngestMetrics) -> None:
        self._publisher, self._clock, self._metrics = publisher, clock, metrics
        self._gathered: deque[_Request] = deque()
        self._gathered_bytes = 0
        self._leaving = False
        self._left_at = -math.inf
        self._on_their_way: set[asyncio.Task[None]] = set()
        self._turns = count()
        self._busy: set[int] = set()
        """Partitions that an envelope is on its way to."""

    @classmethod
    @asynccontextmanager
    async def open(cls, publisher: Publisher, clock: Clock, metrics: IngestMetrics) -> AsyncIterator[Self]:
        """At the end it waits for what is on its way, which the publisher's deadline bounds."""
        envelopes = cls(publisher, clock, metrics)
        try:
            yield envelopes
        finally:
            while envelopes._on_their_way:
                await asyncio.wait(envelopes._on_their_way)

    async def publish(self, entries: Sequence[PackedEntry], deadline_seconds: float) -> None:
        """Returns once all in-sync replicas have acknowledged every entry.

        Raises `PublishUnavailableError` and `RecordTooLargeError`. What has not left when this raises, never will.
        """
        request = _Request(entries)
        self._publisher.hold(request.size)
        self._gathered.append(request)
        self._gathered_bytes += request.size
        if not self._leaving:
            self._leaving = True
            asyncio.get_running_loop().call_soon(self._leave)
        try:
            async with asyncio.timeout(deadline_seconds):
                await request.finished
        except TimeoutError:
            raise PublishUnavailableError("deadline") from None
        finally:
            if request.finished.cancelled():
                self._withdraw(request)

    def _withdraw(self, request: _Request) -> None:
        """Nobody waits for it any more; if it has left, it may land all the same."""
        if request in self._gathered:
            self._gathered.remove(request)
            self._gathered_bytes -= request.size
            self._publisher.let_go(request.size)

    def _leave(self) -> None:
        self._leaving = False
        while self._gathered and self._may_leave():
            sending = asyncio.create_task(self._send(self._take()))
            self._left_at = self._clock.monotonic()
            self._on_their_way.add(sending)
            sending.add_done_callback(self._arrived)

    def _may_leave(self) -> bool:
        if not self._on_their_way:
            return True
        if len(self._on_their_way) >= MAX_IN_FLIGHT:
            return False
        return self._gathered_bytes >= ENVELOPE_BYTES or self._clock.monotonic() - self._left_at > SLOW_SECONDS

    def _take(self) -> list[_Request]:
        """The requests of the next envelope: never a part of one, and one that is larger alone."""
        taken: list[_Request] = []
        size = 0
        while self._gathered and (not taken or size + self._gathered[0].size <= ENVELOPE_BYTES):
            taken.append(self._gathered.popleft())
            size += taken[-1].size
        self._gathered_bytes -= size
        return taken

    def _arrived(self, sending: asyncio.Task[None]) -> None:
        self._on_their_way.discard(sending)
        self._leave()

    async def _send(self, requests: Sequence[_Request]) -> None:
        error: Exception | None = PublishUnavailableError("closed")  # unless something else is known
        try:
            await self._publish(requests)
            error = None
        except (PublishUnavailableError, RecordTooLargeError) as refused:
            error = refused
        except Exception as unforeseen:
            log.exception("envelope.failed")
            error = unforeseen
        finally:
            for request in requests:
                request.end(error.again() if isinstance(error, PublishUnavailableError) else error)

    async def _publish(self, requests: Sequence[_Request]) -> None:
        entries = [entry for request in requests for entry in request.entries]
        try:
            partition = self._free(await self._publisher.partitions(RAW))
        finally:
            self._publisher.let_go(sum([request.size for request in requests]))
        self._busy.add(partition)
        try:
            await self._publisher.publish([raw_record(entries, self._clock.now_ms(), partition)])
        finally:
            self._busy.discard(partition)
        self._metrics.envelope_entries.observe(len(entries))

    def _free(self, partitions: int) -> int:
        """One after the other; one that an envelope is on its way to only when all are."""
        for _ in range(partitions):
            if (partition := next(self._turns) % partitions) not in self._busy:
                return partition
        return next(self._turns) % partitions
