"""Any pod answers for any batch: the one partition that the batch id hashes to is read from the batch's time on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from metering_common.contract.batch_id import batch_time_ms
from metering_common.http.problems import Problem, unavailable
from metering_common.service.settings import KafkaSettings
from metering_ingest_api.adapters.outcomes import decode, open_consumer, partitions_of
from metering_ingest_api.domain.batch_results import SKEW_SECONDS, Told, is_complete
from metering_ingest_api.metrics import IngestMetrics

SCANS_AT_ONCE = 2
SCAN_SECONDS = 2.5
SCAN_BYTES = 64 * 1024 * 1024
_POLL_MS = 200
_STEP_RECORDS = 500
_REST = 3
"""So many times as long as a step takes, the loop is left to others."""
_MAX_REST_SECONDS = 0.05
_RETRY_AFTER_SECONDS = 5


class OutcomesScan:
    """Keeps a few consumers for reading back; each is used by one scan at a time."""

    def __init__(self, settings: KafkaSettings, metrics: IngestMetrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._places = asyncio.Semaphore(SCANS_AT_ONCE)
        self._idle: list[tuple[AsyncExitStack, AIOKafkaConsumer]] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings, metrics: IngestMetrics) -> AsyncIterator["OutcomesScan"]:
        """Consumers are made when first needed."""
        scan = cls(settings, metrics)
        try:
            yield scan
        finally:
            for stack, _ in scan._idle:
                await stack.aclose()

    async def find(self, batch_id: UUID, charge: Callable[[int], None]) -> list[Told]:
        """Returns every outcome of the batch so far; raises a 503 `Problem` when that cannot be told in time.

        `charge` is called with the bytes that were read for it, and may raise a `Problem` that ends the search.
        """
        try:
            async with asyncio.timeout(SCAN_SECONDS), self._places, self._consumer() as consumer:
                with self._metrics.scan_seconds.time():
                    return await self._scan(consumer, batch_id, charge)
        except (TimeoutError, KafkaError) as error:
            raise _too_long() from error

    @asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        """One that failed, or was cut short, is not used again."""
        if self._idle:
            stack, consumer = self._idle.pop()
        else:
            stack = AsyncExitStack()
            consumer = await stack.enter_async_context(open_consumer(self._settings))
        try:
            yield consumer
        except Problem:
            self._keep(stack, consumer)
            raise
        except BaseException:
            await stack.aclose()
            raise
        self._keep(stack, consumer)

    def _keep(self, stack: AsyncExitStack, consumer: AIOKafkaConsumer) -> None:
        consumer.unsubscribe()  # else its next look-up waits half a second behind a fetch idling on this partition
        self._idle.append((stack, consumer))

    async def _scan(self, consumer: AIOKafkaConsumer, batch_id: UUID, charge: Callable[[int], None]) -> list[Told]:
        key = str(batch_id).encode()
        partition = partition_of(key, await partitions_of(consumer))
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        since = await consumer.offsets_for_times({partition: batch_time_ms(batch_id) - SKEW_SECONDS * 1_000})
        if (first := since[partition]) is None:
            return []
        consumer.seek(partition, first.offset)
        told: list[Told] = []
        size = 0
        while await consumer.position(partition) < end and not is_complete(outcome for _, outcome in told):
            records = await self._step(consumer, partition)
            read = sum([len(record.value or b"") for record in records])
            self._metrics.scan_bytes.inc(read)
            charge(read)
            if (size := size + read) > SCAN_BYTES:
                raise _too_long()
            own = [(record.timestamp, decode(record)) for record in records if record.key == key]
            told += [Told(at_ms, outcome) for at_ms, outcome in own if outcome is not None]
        return told

    async def _step(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> list[ConsumerRecord]:
        """Some records, and then a rest: a search may take its time, the other requests may not."""
        loop = asyncio.get_running_loop()
        since = loop.time()
        found = await consumer.getmany(partition, timeout_ms=_POLL_MS, max_records=_STEP_RECORDS)
        records: list[ConsumerRecord] = found.get(partition, [])
        self._metrics.outcomes_read.labels("scan").inc(len(records))
        await asyncio.sleep(min(_REST * (loop.time() - since), _MAX_REST_SECONDS))
        return records


def partition_of(key: bytes, partitions: list[TopicPartition]) -> TopicPartition:
    """Where Kafka's default partitioner puts the key."""
    return partitions[(murmur2(key) & 0x7FFF_FFFF) % len(partitions)]


def _too_long() -> Problem:
    return unavailable(
        "result_unavailable", "the result cannot be looked up in time", _RETRY_AFTER_SECONDS, "scan_unfinished"
    )
