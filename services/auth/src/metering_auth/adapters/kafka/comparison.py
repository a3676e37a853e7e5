"""Topic and tables compared, at take-over, daily and on request: what differs is announced again, and counted."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from metering_auth.adapters.postgres.documents import QUERIES, all_documents
from metering_auth.adapters.postgres.rows import one_row
from metering_auth.metrics import RegistryMetrics
from metering_common.contract.topics import REGISTRY
from metering_common.kafka.consumers import open_consumer
from metering_common.postgres.pool import UNAVAILABLE, TimedPool
from metering_common.registry.documents import document_key, encode_document
from metering_common.service.settings import KafkaSettings

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

ASK_SECONDS = 1.0
FETCH_MS = 500
Digests = dict[str, bytes]


class Comparison:
    """Runs beside the relay, so that a revocation never waits for it."""

    def __init__(self, pool: TimedPool, settings: KafkaSettings, metrics: RegistryMetrics) -> None:
        self._pool = pool
        self._settings = settings
        self._metrics = metrics
        self._published: set[str] = set()

    def note_published(self, keys: Iterable[str]) -> None:
        """What the relay publishes while a comparison reads is not compared in it."""
        self._published.update(keys)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Compares at once, and then whenever it is due."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def compare(self) -> set[str]:
        """The keys that differed and are now announced again."""
        self._published.clear()
        topic = await _read_topic(self._settings)
        tables = await self._read_tables()
        differing = {key for key in topic.keys() | tables.keys() if topic.get(key) != tables.get(key)}
        repaired = await self._repair(differing)
        await self._pool.execute(QUERIES.compared)
        log.info("registry.compared", documents=len(tables), repaired=len(repaired))
        return repaired

    async def _run(self) -> None:
        due = True
        while True:
            try:
                if due or (await one_row(self._pool, QUERIES.publication))["compare_due"]:
                    await self.compare()
                    due = False
            except (KafkaError, *UNAVAILABLE) as error:
                log.warning("registry.comparison_failed", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(ASK_SECONDS)

    async def _read_tables(self) -> Digests:
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return {
                document_key(document): _digest(encode_document(document))
                async for document in all_documents(connection)
            }

    async def _repair(self, differing: set[str]) -> set[str]:
        """Asks for what differs again, unless the relay has published the key since or still will."""
        if not differing:
            return set()
        pending = {row["key"] for row in await self._pool.fetch(QUERIES.pending_keys)}
        repaired = differing - pending - self._published
        await self._pool.execute(QUERIES.ask_again, sorted(repaired))
        self._metrics.repaired.inc(len(repaired))
        if repaired:
            log.error("registry.repaired", documents=len(repaired), some=sorted(repaired)[:10])
        return repaired


async def _read_topic(settings: KafkaSettings) -> Digests:
    """A digest of the newest value of each key; a tombstone is no entry."""
    async with open_consumer(settings) as consumer:
        return await _read_to_end(consumer)


async def _read_to_end(consumer: AIOKafkaConsumer) -> Digests:
    partition = TopicPartition(REGISTRY, 0)
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    end = (await consumer.end_offsets([partition]))[partition]
    digests: Digests = {}
    while await consumer.position(partition) < end:
        fetched = await consumer.getmany(timeout_ms=FETCH_MS)
        for record in (record for records in fetched.values() for record in records):
            key = record.key.decode("utf-8", "replace")
            if record.value is None:
                digests.pop(key, None)
            else:
                digests[key] = _digest(record.value)
    return digests


def _digest(value: bytes) -> bytes:
    """8 bytes are enough to see a difference, and a million of them fit beside the service."""
    return hashlib.blake2b(value, digest_size=8).digest()
