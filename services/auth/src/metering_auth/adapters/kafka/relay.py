"""The relay: what the outbox holds goes to registry.v1, in order, in transactions, from one process at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import asyncpg
import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from metering_auth.adapters.kafka.comparison import Comparison
from metering_auth.adapters.postgres.documents import QUERIES, documents_of
from metering_auth.adapters.postgres.republish import begin_epoch
from metering_auth.adapters.postgres.rows import one_row
from metering_auth.metrics import RegistryMetrics
from metering_common.contract.topics import REGISTRY
from metering_common.kafka import clients as kafka
from metering_common.kafka.consumers import open_consumer
from metering_common.postgres.lease import Lease, LeaseLostError
from metering_common.postgres.pool import UNAVAILABLE, TimedPool
from metering_common.service.settings import KafkaSettings

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

TRANSACTIONAL_ID = "auth-registry-relay"
BATCH_ENTRIES = 1_000
IDLE_SECONDS = 0.1  # between looks into an empty outbox
LEASE = "relay"
LEASE_SECONDS = 10.0
RENEW_SECONDS = 2.0
CANDIDATE_SECONDS = 1.0  # between looks at another's lease
RETRY_SECONDS = 1.0
KAFKA_SECONDS = 8.0  # one transaction; less than the lease
STOP_SECONDS = 2.0

Batch = Mapping[str, tuple[bytes | None, int | None]]
"""Documents (None: a tombstone) by key, and when each was changed in Unix milliseconds, None for now: the record's
timestamp, by which every reader can tell how late it came.
"""


class Relay:
    """Runs in every auth process; only the one that holds the lease publishes."""

    def __init__(self, pool: TimedPool, settings: KafkaSettings, metrics: RegistryMetrics) -> None:
        self._pool = pool
        self._settings = settings
        self._metrics = metrics
        self._lease = Lease(pool, LEASE, seconds=LEASE_SECONDS, renew_seconds=RENEW_SECONDS, monotonic=time.monotonic)
        self._comparison = Comparison(pool, settings, metrics)
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
            except (KafkaError, *UNAVAILABLE) as error:
                self._metrics.relay_failures.labels(type(error).__name__).inc()
                log.warning("relay.failed", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                self._metrics.relaying.set(0)
        self._idle.set()

    async def stop(self) -> None:
        """Ends after the batch in flight and gives the lease up, so that the next relay need not wait 10 s."""
        self._stopping = True
        with suppress(*UNAVAILABLE):
            await asyncio.wait_for(self._idle.wait(), KAFKA_SECONDS)
            await self._lease.give_back()

    async def _wait_for_lease(self) -> None:
        while not self._stopping:
            if await self._lease.take():
                log.info("relay.lease_taken", holder=str(self._lease.holder))
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
                    if await self._lease.keep():
                        await self._watch_outbox()
                    if not await self._publish_next(producer):
                        await asyncio.sleep(IDLE_SECONDS)

    async def _check_topic(self) -> None:
        """A topic that ends before what was written to it was recreated: it gets an epoch and everything again."""
        async with self._pool.acquire() as connection:
            publication = await one_row(connection, QUERIES.publication)
            end = await _end_position(self._settings)
            if publication["epoch"] is None or end < publication["end_position"]:
                epoch = await begin_epoch(connection)
                log.warning("relay.epoch_begun", epoch=str(epoch), topic_end=end)

    async def _publish_next(self, producer: AIOKafkaProducer) -> bool:
        """One batch of one lane in one transaction, or of what is to be published again; False if nothing waits."""
        entries = await self._pool.fetch(QUERIES.next_entries, BATCH_ENTRIES)
        if not entries:
            return await self._publish_again(producer)
        since = time.monotonic()
        newest = {entry["key"]: (entry["document"], entry["created_ms"]) for entry in entries}
        await self._send(producer, newest, QUERIES.published, [entry["id"] for entry in entries])
        self._count(entries, time.monotonic() - since)
        return True

    async def _publish_again(self, producer: AIOKafkaProducer) -> bool:
        """Documents as one snapshot has them, without those that wait in the outbox there. What changes after the
        snapshot is published after it, so that nothing older ever stands behind something newer.
        """
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            asked = await connection.fetch(QUERIES.next_again, BATCH_ENTRIES)
            keys = {entry["key"] for entry in asked}
            pending = {row["key"] for row in await connection.fetch(QUERIES.pending_among, list(keys))}
            documents = await documents_of(connection, [entry["key"] for entry in asked if entry["key"] not in pending])
        ids = [entry["id"] for entry in asked]
        if documents:
            batch = {key: (document, None) for key, document in documents.items()}
            await self._send(producer, batch, QUERIES.published_again, ids)
            self._metrics.published.labels("again").inc(len(batch))
        elif ids:
            await self._pool.execute(QUERIES.published_again, ids, None)
        return bool(ids)

    async def _send(self, producer: AIOKafkaProducer, batch: Batch, done: str, ids: list[int]) -> None:
        """One transaction; what has reached the topic leaves its table."""
        async with asyncio.timeout(KAFKA_SECONDS):
            position = await _publish(producer, batch)
        self._comparison.note_published(batch)
        before = await self._pool.fetchval(done, ids, position)
        if position <= before:
            raise LeaseLostError(LEASE)  # the topic was recreated under us: begin again with its check

    async def _watch_outbox(self) -> None:
        depth = {row["lane"]: row for row in await self._pool.fetch(QUERIES.outbox_depth)}
        self._metrics.outbox_entries.labels("again").set(await self._pool.fetchval(QUERIES.again_depth))
        for lane in (0, 1):
            row = depth.get(lane)
            self._metrics.outbox_entries.labels(lane).set(row["entries"] if row else 0)
            self._metrics.outbox_oldest_seconds.labels(lane).set(row["oldest_seconds"] if row else 0)

    def _count(self, entries: Sequence[asyncpg.Record], seconds: float) -> None:
        """`seconds` have passed since the entries were read and their ages taken."""
        for entry in entries:
            self._metrics.publish_delay_seconds.labels(entry["lane"]).observe(max(0.0, entry["age_seconds"] + seconds))
        self._metrics.published.labels(entries[0]["lane"]).inc(len(entries))
        log.info("registry.published", lane=entries[0]["lane"], entries=len(entries), first=entries[0]["key"])


async def _publish(producer: AIOKafkaProducer, batch: Batch) -> int:
    """The position behind the batch. Of several documents of one key the last one is in it, so that a batch which is
    sent again after a kill never shows an older document behind a newer one.
    """
    async with producer.transaction():
        sent = [
            await producer.send(REGISTRY, document, key.encode(), timestamp_ms=created_ms)
            for key, (document, created_ms) in batch.items()
        ]
        acknowledged = await asyncio.gather(*sent)
    return int(max(each.offset for each in acknowledged)) + 1


async def _end_position(settings: KafkaSettings) -> int:
    partition = TopicPartition(REGISTRY, 0)
    async with open_consumer(settings, REGISTRY) as consumer:
        ends: dict[TopicPartition, int] = await consumer.end_offsets([partition])
        return ends[partition]


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
