"""Behind ingest-api: records leave for Kafka here, and a 201 rests on what `Publisher.publish` returns.

aiokafka's idempotent producer sends again for ever while Kafka is away, its `send` and its `stop()` hang, and after
some errors it never sends again. So: a deadline of our own, a bound on the bytes in flight, and a circuit breaker whose
recovery is always the same step, a producer recreated.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Self

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.structs import RecordMetadata
from prometheus_client import CollectorRegistry

from metering_common.contract.topics import load_contracts
from metering_common.kafka import clients as kafka
from metering_common.kafka.partition_batcher import Record
from metering_common.kafka.producer_session import ProducerSession
from metering_common.service.cancellation import is_asked_to_end
from metering_common.service.clock import Clock
from metering_common.service.metrics import PublisherMetrics
from metering_common.service.settings import KafkaSettings

Reason = Literal["deadline", "breaker_open", "in_flight", "failed", "closed"]

DEADLINE_SECONDS = 2.5
MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
MISSES_TO_OPEN = 3
"""Deadlines missed with no acknowledgement in between, after which Kafka is taken to be away."""
STALE_SECONDS = 15.0
"""A record not acknowledged for so long holds its bytes for nothing: its producer is recreated."""
MEND_EVERY_SECONDS = 0.25
_RECORD_OVERHEAD_BYTES = 256
_RETRY_AFTER_SECONDS: dict[Reason, int] = {"deadline": 2, "breaker_open": 5, "in_flight": 1, "failed": 1, "closed": 1}

__all__ = ["PublishUnavailableError", "Publisher", "Record", "RecordTooLargeError"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class PublishUnavailableError(Exception):
    """Not all records are known to be acknowledged; with reason `deadline` or `failed` they may land all the same."""

    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason
        self.retry_after_seconds: int = _RETRY_AFTER_SECONDS[reason]
        super().__init__(f"cannot publish: {reason}, again after {self.retry_after_seconds} s")


class RecordTooLargeError(Exception):
    """A record is larger than its topic takes: sending it again is no use."""


class Publisher:
    """Owns its producer. Calls may run side by side."""

    def __init__(
        self, settings: KafkaSettings, clock: Clock, collectors: CollectorRegistry, limits: tuple[float, int]
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._deadline_seconds, self._max_in_flight_bytes = limits
        self._topic_bytes = {name: contract.max_message_bytes for name, contract in load_contracts().items()}
        self._metrics = PublisherMetrics(collectors, lambda: self.in_flight_bytes, self.unavailable)
        self._current: ProducerSession | None = None
        self._producers: set[ProducerSession] = set()
        """The one that takes, and those before it that still wait for acknowledgements."""
        self._why_unavailable: Reason | None = "breaker_open"
        self._misses = 0
        self._retiring: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KafkaSettings,
        clock: Clock,
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
        collectors: CollectorRegistry | None = None,
    ) -> AsyncIterator[Self]:
        """Opens also while Kafka is away. At the end it waits, `deadline_seconds` at most, for what is in flight.

        `registry` is where its metrics are shown.
        """
        publisher = cls(settings, clock, collectors or CollectorRegistry(), (deadline_seconds, max_in_flight_bytes))
        await publisher._make_producer()
        mending = asyncio.create_task(publisher._mend())
        try:
            yield publisher
        finally:
            mending.cancel()
            await asyncio.wait({mending})
            publisher._why_unavailable = "closed"
            await publisher._close()

    @property
    def in_flight_bytes(self) -> int:
        """Sent and not yet acknowledged."""
        return sum(producer.bytes for producer in self._producers)

    def unavailable(self) -> Reason | None:
        """Why a call would be refused at once; None when it would be tried."""
        if self._why_unavailable is not None:
            return self._why_unavailable
        return "in_flight" if self.in_flight_bytes >= self._max_in_flight_bytes else None

    async def publish(self, records: Sequence[Record], deadline_seconds: float | None = None) -> list[RecordMetadata]:
        """Where each record stands, once all are acknowledged by all in-sync replicas.

        Raises `RecordTooLargeError` and `PublishUnavailableError`. When cancelled, records may land all the same.
        """
        started = self._clock.monotonic()
        try:
            acknowledged = await self._publish(records, deadline_seconds or self._deadline_seconds)
        except PublishUnavailableError as error:
            self._metrics.refused.labels(error.reason).inc()
            raise
        except RecordTooLargeError:
            self._metrics.refused.labels("too_large").inc()
            raise
        self._metrics.seconds.observe(self._clock.monotonic() - started)
        return acknowledged

    async def _publish(self, records: Sequence[Record], deadline_seconds: float) -> list[RecordMetadata]:
        producer, size = self._admit(records)
        try:
            return await producer.send(records, size, deadline_seconds)
        except TimeoutError:
            self._missed()
            raise PublishUnavailableError("deadline") from None
        except KafkaError as error:
            if error.retriable:  # of the wait for room or metadata; what was sent is tried again by itself
                self._missed()
                raise PublishUnavailableError("deadline") from error
            if producer is self._current:  # it does not try this again, and its sequence may have a gap from now on
                self._break("failed", repr(error))
            if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
                raise RecordTooLargeError(str(error)) from error
            raise PublishUnavailableError("failed") from error

    def _admit(self, records: Sequence[Record]) -> tuple[ProducerSession, int]:
        """Refuses before anything is sent: what is too large, and what there is no room or no Kafka for."""
        size = 0
        for record in records:
            size += (bytes_of_one := _size(record))
            if bytes_of_one > (limit := self._topic_bytes.get(record.topic, kafka.MAX_REQUEST_BYTES)):
                raise RecordTooLargeError(
                    f"a record of {bytes_of_one} bytes is more than the {limit} of {record.topic}"
                )
        if self._why_unavailable is not None or self._current is None:
            raise PublishUnavailableError(self._why_unavailable or "breaker_open")
        in_flight = self.in_flight_bytes
        if in_flight and in_flight + size > self._max_in_flight_bytes:
            raise PublishUnavailableError("in_flight")
        return self._current, size

    def _acknowledged(self, topic: str, records: int) -> None:
        self._misses = 0
        self._metrics.count_published(topic, records)

    def _missed(self) -> None:
        self._misses += 1
        if self._misses >= MISSES_TO_OPEN:
            self._break("breaker_open", f"{self._misses} deadlines missed")

    def _break(self, reason: Reason, why: str) -> None:
        if self._why_unavailable is None:
            self._why_unavailable = reason
            log.error("publisher.unavailable", reason=reason, error=why)

    async def _mend(self) -> None:
        while True:
            await asyncio.sleep(MEND_EVERY_SECONDS)
            try:
                await self._mend_once()
            except (Exception, asyncio.CancelledError) as error:  # nothing may end it: there would be no recovery
                if is_asked_to_end(error):
                    raise
                log.exception("publisher.mending_failed")

    async def _mend_once(self) -> None:
        if self._current is not None and self._clock.monotonic() - self._current.oldest_sent_at > STALE_SECONDS:
            self._break("failed", f"a record waits for more than {STALE_SECONDS} s")
        if self._why_unavailable is not None:
            await self._make_producer()

    async def _make_producer(self) -> None:
        """That a producer starts is the sign that Kafka is back."""
        producer = await ProducerSession.start(self._settings, self._clock, self._acknowledged)
        if producer is None:
            return
        if self._current is not None:
            self._retire(self._current)
            self._metrics.remade.inc()
            log.info("publisher.recovered")
        self._current, self._misses, self._why_unavailable = producer, 0, None
        self._producers.add(producer)

    def _retire(self, producer: ProducerSession) -> None:
        retiring = asyncio.create_task(self._end(producer))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)

    async def _end(self, producer: ProducerSession) -> None:
        await producer.end(self._deadline_seconds)
        self._producers.discard(producer)

    async def _close(self) -> None:
        if self._current is not None:
            self._retire(self._current)
        if self._retiring:
            await asyncio.wait(set(self._retiring))


def _size(record: Record) -> int:
    """What a record weighs uncompressed, with some room for Kafka's own fields and ours."""
    size = len(record.key or b"") + len(record.value or b"") + _RECORD_OVERHEAD_BYTES
    for name, value in record.headers:
        size += len(name) + len(value)
    return size
