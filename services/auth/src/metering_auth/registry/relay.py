"""The relay: what the outbox holds goes to registry.v1, in order, in transactions, from one process at a time."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from metering_auth.metrics import RegistryMetrics
from metering_auth.registry.comparison import Comparison
from metering_auth.registry.documents import QUERIES
from metering_auth.registry.republish import begin_epoch
from metering_auth.rows import one_row
from metering_common import kafka
from metering_common.postgres import TimedPool
from metering_common.settings import KafkaSettings
from metering_common.topics import REGISTRY

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

TRANSACTIONAL_ID = "auth-registry-relay"
BATCH_ENTRIES = 1_000
IDLE_SECONDS = 0.1  # between looks into an empty outbox
RENEW_SECONDS = 2.0  # the lease lasts 10 s
CANDIDATE_SECONDS = 1.0  # between looks at another's lease
RETRY_SECONDS = 1.0
KAFKA_SECONDS = 8.0  # one transaction; less than the lease
STOP_SECONDS = 2.0


class LeaseLostError(Exception):
    """Another process relays now."""


class Relay:
    """Runs in every auth process; only the one that holds the lease publishes."""

    def __init__(self, pool: TimedPool, settings: KafkaSettings, metrics: RegistryMetrics) -> None:
        self._pool = pool
        self._settings = settings
        self._metrics = metrics
        self._holder = uuid4()
        self._comparison = Comparison(pool, settings, metrics)
        self._renewed_at = 0.0
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def run(self) -> None:
        """Until it is stopped: waits for the lease, relays until it is lost or something fails, then waits again."""
        self._idle.clear()
        while not self._stopping:
            try:
                await self._wait_for_lease()
                await self._relay()
            except LeaseLostError:
                log.warning("relay.lease_lost")
            except (KafkaError, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self._metrics.relay_failures.labels(type(error).__name__).inc()
                log.warning("relay.failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                self._metrics.relaying.set(0)
        self._idle.set()

    async def stop(self) -> None:
        """Ends after the batch in hand and gives the lease up, so that the next relay need not wait 10 s."""
        self._stopping = True
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            await asyncio.wait_for(self._idle.wait(), KAFKA_SECONDS)
            await self._pool.execute(QUERIES.give_lease_up, self._holder)

    async def _wait_for_lease(self) -> None:
        while not self._stopping:
            if await self._renew():
                log.info("relay.lease_taken", holder=str(self._holder))
                return
            await asyncio.sleep(CANDIDATE_SECONDS)

    async def _relay(self) -> None:
        """A new producer fences any other of the same transactional id, so a relay that slept publishes no more."""
        if self._stopping:
            return
        async with _transactional_producer(self._settings) as producer:
            await self._check_topic()
            self._metrics.relaying.set(1)
            async with self._comparison.running():
                while not self._stopping:
                    await self._keep_lease()
                    if not await self._publish_next(producer):
                        await asyncio.sleep(IDLE_SECONDS)

    async def _check_topic(self) -> None:
        """A topic that ends before what was written to it was made anew: it gets an epoch and everything again."""
        async with self._pool.acquire() as connection:
            publication = await one_row(connection, QUERIES.publication)
            end = await _end_position(self._settings)
            if publication["epoch"] is None or end < publication["end_position"]:
                epoch = await begin_epoch(connection)
                log.warning("relay.epoch_begun", epoch=str(epoch), topic_end=end)

    async def _publish_next(self, producer: AIOKafkaProducer) -> bool:
        """One batch of one lane in one transaction; False if nothing waits."""
        entries = await self._pool.fetch(QUERIES.next_entries, BATCH_ENTRIES)
        if not entries:
            return False
        async with asyncio.timeout(KAFKA_SECONDS):
            position = await _publish(producer, entries)
        self._comparison.note_published(entry["key"] for entry in entries)
        publication = await one_row(self._pool, QUERIES.publication)
        await self._pool.execute(QUERIES.published, [entry["id"] for entry in entries], position)
        self._count(entries)
        if position <= publication["end_position"]:
            raise LeaseLostError  # the topic was made anew under us: begin again with its check
        return True

    async def _keep_lease(self) -> None:
        if asyncio.get_running_loop().time() - self._renewed_at < RENEW_SECONDS:
            return
        if not await self._renew():
            raise LeaseLostError
        await self._watch_outbox()

    async def _renew(self) -> bool:
        asked_at = asyncio.get_running_loop().time()
        if await self._pool.fetchrow(QUERIES.lease, self._holder) is None:
            return False
        self._renewed_at = asked_at
        return True

    async def _watch_outbox(self) -> None:
        depth = {row["lane"]: row for row in await self._pool.fetch(QUERIES.outbox_depth)}
        for lane in (0, 1):
            row = depth.get(lane)
            self._metrics.outbox_entries.labels(lane).set(row["entries"] if row else 0)
            self._metrics.outbox_oldest_seconds.labels(lane).set(row["oldest_seconds"] if row else 0)

    def _count(self, entries: Sequence[asyncpg.Record]) -> None:
        for entry in entries:
            self._metrics.publish_delay_seconds.labels(entry["lane"]).observe(max(0.0, entry["age_seconds"]))
        self._metrics.published.labels(entries[0]["lane"]).inc(len(entries))
        log.info("registry.published", lane=entries[0]["lane"], entries=len(entries), first=entries[0]["key"])


async def _publish(producer: AIOKafkaProducer, entries: Sequence[asyncpg.Record]) -> int:
    """The position behind the batch. Of several documents of one key the last one is sent, so that a batch which is
    sent again after a kill never shows an older document behind a newer one.
    """
    newest = {entry["key"]: entry["document"] for entry in entries}
    async with producer.transaction():
        sent = [await producer.send(REGISTRY, value, key.encode()) for key, value in newest.items()]
        acknowledged = await asyncio.gather(*sent)
    return int(max(each.offset for each in acknowledged)) + 1


async def _end_position(settings: KafkaSettings) -> int:
    consumer = kafka.consumer(settings, REGISTRY)
    await consumer.start()
    try:
        partition = TopicPartition(REGISTRY, 0)
        ends: dict[TopicPartition, int] = await consumer.end_offsets([partition])
        return ends[partition]
    finally:
        await consumer.stop()


@asynccontextmanager
async def _transactional_producer(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Neither start nor stop may hang while Kafka is away (aio-libs/aiokafka#1101)."""
    producer = kafka.producer(settings, transactional_id=TRANSACTIONAL_ID, transaction_timeout_ms=10_000)
    try:
        async with asyncio.timeout(KAFKA_SECONDS):
            await producer.start()
        yield producer
    finally:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await producer.stop()
        except (TimeoutError, KafkaError):
            log.warning("relay.producer_abandoned")
