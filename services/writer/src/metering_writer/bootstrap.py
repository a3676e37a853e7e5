"""The only place that names the writer's concrete adapters: opened downwards, closed upwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

import structlog

from metering_common.contract import topics
from metering_common.kafka import clients as kafka
from metering_common.kafka.consumers import started
from metering_common.kafka.publisher import Publisher
from metering_common.postgres import pool as postgres
from metering_common.service.admin_server import AdminServer
from metering_common.service.clock import SystemClock
from metering_common.service.collector import open_tracing
from metering_common.service.metrics import PoolMetrics
from metering_common.service.retry import RetryPolicy
from metering_common.service.telemetry import loop_lag, new_collectors
from metering_common.service.tracing import stage_trace
from metering_writer.adapters.dead_letters import KafkaDeadLetters
from metering_writer.adapters.dimensions import DimensionKeeper
from metering_writer.adapters.loop import WriterLoop
from metering_writer.adapters.notes import WriterNotes
from metering_writer.adapters.store import PostgresStore
from metering_writer.adapters.validated_log import BatchLimits, ValidatedLog
from metering_writer.application import Writing
from metering_writer.flavour import check_flavour
from metering_writer.metrics import WriterMetrics
from metering_writer.settings import WriterSettings

GROUP = "writer"
TOPICS = (topics.VALIDATED, topics.DEAD, topics.REGISTRY)
FETCH_BYTES = 8 * 1024 * 1024  # compressed, in flight at most: the writer stays small whatever the backlog is
PARTITION_FETCH_BYTES = 1024 * 1024  # a larger record still comes, alone
NEVER_MS = 24 * 3_600_000  # a database away for hours is no reason to give partitions back
CLOSE_SECONDS = 5

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


@asynccontextmanager
async def build(settings: WriterSettings) -> AsyncIterator[WriterLoop]:
    """The service, ready to run."""
    clock = SystemClock()
    collectors = new_collectors("writer", "metering-writer")
    metrics = WriterMetrics(collectors)
    async with AsyncExitStack() as stack:
        tracing = await stack.enter_async_context(open_tracing("writer", settings.tracing))
        notes = WriterNotes(metrics, clock, stage_trace(tracing, "store", topics.VALIDATED))
        await stack.enter_async_context(loop_lag(collectors, clock))
        admin_server = AdminServer(settings.admin_host, settings.admin_port, collectors, clock)
        admin = await stack.enter_async_context(admin_server)
        await topics.check_topics(settings.kafka, TOPICS, admin.start_retry("kafka"))
        pool = await stack.enter_async_context(_pool(settings, PoolMetrics(collectors), admin.start_retry("database")))
        async with pool.acquire() as session:
            flavour = await check_flavour(session, allow_old=settings.allow_old_timescaledb)
        log.info("storage.opened", flavour=flavour)
        publisher = await stack.enter_async_context(Publisher.open(settings.kafka, clock, collectors=collectors))
        dead_letters = KafkaDeadLetters(publisher, clock, asyncio.sleep)
        consumer = kafka.consumer(settings.kafka, **_consumer_settings(settings))
        validated = ValidatedLog(consumer, pool, _limits(settings), metrics, clock)
        store = PostgresStore(pool, settings.lock_wait_seconds, validated.owns, hypertables=flavour != "plain")
        writing = Writing(store, dead_letters, notes, clock, asyncio.sleep)
        validated.subscribe()
        await stack.enter_async_context(started(consumer, CLOSE_SECONDS))
        dimensions = DimensionKeeper(
            pool, settings.kafka, clock, metrics, holder=uuid4(), lease_seconds=settings.lease_seconds
        )
        loop = WriterLoop(validated, writing, dimensions, notes, asyncio.sleep)
        admin.add_check("database", notes.database_reason)
        admin.add_check("partitions", validated.stopped_reason)
        admin.add_check("consumer", notes.stopped_reason)
        admin.ready = True
        try:
            yield loop
        finally:
            admin.ready = False
            await loop.leave()
            with suppress(Exception):
                await dimensions.give_back()


def _pool(settings: WriterSettings, metrics: PoolMetrics, retry: RetryPolicy) -> Any:
    return postgres.pool(
        settings.database_url,
        application_name="metering-writer",
        min_size=1,
        max_size=4,
        statement_timeout_seconds=settings.statement_timeout_seconds,
        lock_timeout_seconds=settings.statement_timeout_seconds,
        retry=retry,
        metrics=metrics,
    )


def _limits(settings: WriterSettings) -> BatchLimits:
    return BatchLimits(settings.batch_rows, settings.batch_records, settings.batch_bytes, settings.batch_seconds)


def _consumer_settings(settings: WriterSettings) -> dict[str, Any]:
    session_ms = round(settings.session_timeout_seconds * 1_000)
    return {
        "group_id": GROUP,
        "group_instance_id": settings.group_instance_id,
        "session_timeout_ms": session_ms,
        "heartbeat_interval_ms": max(100, session_ms // 10),
        "max_poll_interval_ms": NEVER_MS,
        "fetch_max_wait_ms": kafka.FETCH_WAIT_MS,
        "fetch_max_bytes": FETCH_BYTES,
        "max_partition_fetch_bytes": PARTITION_FETCH_BYTES,
    }
