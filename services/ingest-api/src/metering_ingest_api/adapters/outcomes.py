"""What the validator said, for those who wait: the outcomes topic's tail while somebody does."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from uuid import UUID

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from metering_common.contract import codec, topics
from metering_common.contract.messages import Outcome
from metering_common.kafka import consumers
from metering_common.service.clock import Clock
from metering_common.service.settings import KafkaSettings
from metering_ingest_api.domain.batch_results import is_complete
from metering_ingest_api.metrics import IngestMetrics

MAX_WAITING = 2_000
"""Further ones are not waited for: a preference may be left aside (RFC 7240)."""
IDLE_SECONDS = 30.0
"""So long after the last one that waited the tail is let go."""
START_SECONDS = 1.0
_POLL_MS = 1_000

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Expectation:
    """The outcomes of one batch as they come in."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []
        self._complete = asyncio.Event()

    def add(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        if is_complete(self._outcomes):
            self._complete.set()

    async def within(self, seconds: float) -> list[Outcome] | None:
        """All of them, or None when they are late."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._complete.wait()
                return self._outcomes
        return None


class OutcomesTail:
    """Reads every outcome from now on while somebody waits, decodes those that are waited for, and drops the rest."""

    def __init__(self, settings: KafkaSettings, clock: Clock, metrics: IngestMetrics) -> None:
        self._settings, self._clock, self._metrics = settings, clock, metrics
        self._waiting: dict[bytes, Expectation] = {}
        self._following: asyncio.Task[None] | None = None
        self._at_end = asyncio.Event()
        self._idle_since = 0.0
        metrics.waiting.set_function(lambda: len(self._waiting))

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings, clock: Clock, metrics: IngestMetrics) -> AsyncIterator["OutcomesTail"]:
        """Costs nothing until somebody waits."""
        tail = cls(settings, clock, metrics)
        try:
            yield tail
        finally:
            await tail._stop()

    @asynccontextmanager
    async def expect(self, batch_id: UUID) -> AsyncIterator[Expectation | None]:
        """To be entered before the batch is enqueued, so that no outcome is missed; None when it cannot be watched."""
        if len(self._waiting) >= MAX_WAITING or not await self._follow():
            yield None
            return
        key, expectation = str(batch_id).encode(), Expectation()
        self._waiting[key] = expectation
        try:
            yield expectation
        finally:
            del self._waiting[key]
            self._idle_since = self._clock.monotonic()

    async def _follow(self) -> bool:
        """Whether the tail stands at the end of the topic, or got there in time."""
        if self._following is None or self._following.done():
            self._at_end.clear()
            self._following = asyncio.create_task(self._run())
        self._idle_since = self._clock.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._at_end.wait()
        return self._at_end.is_set()

    async def _run(self) -> None:
        try:
            async with open_consumer(self._settings) as consumer:
                partitions = await partitions_of(consumer)
                consumer.assign(partitions)
                for partition, end in (await consumer.end_offsets(partitions)).items():
                    consumer.seek(partition, end)
                self._at_end.set()
                while self._waiting or self._clock.monotonic() - self._idle_since < IDLE_SECONDS:
                    for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                        self._hand_out(records)
        except KafkaError as error:
            log.warning("outcomes.tail_failed", error=repr(error))
        finally:
            self._at_end.clear()

    def _hand_out(self, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            self._metrics.outcomes_read.labels("tail").inc()
            if (expectation := self._waiting.get(record.key)) is not None and (outcome := decode(record)) is not None:
                expectation.add(outcome)

    async def _stop(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})


def decode(record: ConsumerRecord) -> Outcome | None:
    """One that cannot be read hurts only its own batch."""
    try:
        return codec.decode_outcome(record.value)
    except (msgspec.DecodeError, RecursionError) as error:
        log.error("outcomes.unreadable", partition=record.partition, offset=record.offset, error=str(error))  # noqa: TRY400  the trace says nothing
        return None


def open_consumer(settings: KafkaSettings) -> AbstractAsyncContextManager[AIOKafkaConsumer]:
    """A consumer of its own, in no group."""
    return consumers.open_consumer(settings, isolation_level="read_uncommitted")


async def partitions_of(consumer: AIOKafkaConsumer) -> list[TopicPartition]:
    """All partitions of the outcomes topic; a client learns of a topic only once one of its partitions is assigned."""
    if (numbers := consumer.partitions_for_topic(topics.OUTCOMES)) is None:
        first = TopicPartition(topics.OUTCOMES, 0)
        consumer.assign([first])
        await consumer.end_offsets([first])
        numbers = consumer.partitions_for_topic(topics.OUTCOMES) or {0}
    return [TopicPartition(topics.OUTCOMES, number) for number in sorted(numbers)]
