"""The only place that names the poller's concrete parts, in the order in which they are opened."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

import aiohttp
from prometheus_client import CollectorRegistry

from metering_common.contract import topics
from metering_common.kafka.publisher import Publisher
from metering_common.postgres.pool import TimedPool, pool
from metering_common.registry.replica import RegistryReplica
from metering_common.service.admin_server import AdminServer
from metering_common.service.clock import Clock, SystemClock
from metering_common.service.collector import open_tracing
from metering_common.service.metrics import PoolMetrics, ReplicaMetrics
from metering_common.service.retry import RetryPolicy
from metering_common.service.sealed import Keyring, MasterKey
from metering_common.service.settings import KafkaSettings
from metering_common.service.telemetry import loop_lag, new_collectors
from metering_ecl_poller.adapters.kafka.raw_publisher import KafkaRawPublisher
from metering_ecl_poller.adapters.poll_context import PollContext
from metering_ecl_poller.adapters.portal.client import PortalClient
from metering_ecl_poller.adapters.portal.dialect_file import load_dialect
from metering_ecl_poller.adapters.postgres.controller_store import ControllerStore
from metering_ecl_poller.adapters.postgres.poll_store import PostgresPollStore
from metering_ecl_poller.adapters.runner import Runner
from metering_ecl_poller.application.observer import Observer
from metering_ecl_poller.application.polling import Polling
from metering_ecl_poller.domain.job import PollJob
from metering_ecl_poller.metrics import PollerMetrics
from metering_ecl_poller.settings import ConnectorSettings, EclToolSettings, PollerSettings

TOPICS = (topics.ECL_ANSWERS, topics.RAW, topics.REGISTRY)
DRAIN_MARGIN_SECONDS = 3.0  # of the drain, kept for closing what is behind the polls


@asynccontextmanager
async def build(settings: PollerSettings, clock: Clock | None = None) -> AsyncIterator[Runner]:
    """The service. Topics that are missing or weaker than their contracts stop the start."""
    clock = clock or SystemClock()
    registry = new_collectors("ecl-poller", "metering-ecl-poller")
    metrics = PollerMetrics(registry)
    async with (
        open_tracing("ecl-poller", settings.tracing) as tracing,
        loop_lag(registry, clock),
        AdminServer(settings.admin_host, settings.admin_port, registry, clock) as admin,
        topics.checked(settings.kafka, TOPICS, admin.start_retry("kafka")),
        open_pool(settings, PoolMetrics(registry), admin.start_retry("database")) as database,
        open_context(settings, settings.kafka, database, clock, (registry, metrics)) as context,
    ):
        admin.add_check("registry", context.replica.not_ready_reason)
        await context.replica.wait_ready()
        limits = settings.max_requests, settings.idle_seconds
        runner = Runner(context.store, context.polling, clock, metrics, limits, tracing=tracing)
        admin.add_check("kafka", context.producer.unavailable)
        admin.add_check("database", lambda: runner.database_trouble)
        admin.ready = True
        yield runner
        admin.ready = False
        await _drain(runner, settings.drain_seconds - DRAIN_MARGIN_SECONDS)


@asynccontextmanager
async def open_controllers(settings: ConnectorSettings) -> AsyncIterator[ControllerStore]:
    """Opens what the tool keeps controllers in."""
    async with open_pool(settings) as database:
        yield ControllerStore(database, keyring(settings))


@asynccontextmanager
async def open_poll_context(
    settings: EclToolSettings, clock: Clock, metrics: PollerMetrics
) -> AsyncIterator[PollContext]:
    """Opens what the tool polls with."""
    async with (
        open_pool(settings) as database,
        open_context(settings, settings.kafka, database, clock, (CollectorRegistry(), metrics)) as context,
    ):
        yield context


def open_pool(
    settings: ConnectorSettings, metrics: PoolMetrics | None = None, retry: RetryPolicy | None = None
) -> AbstractAsyncContextManager[TimedPool]:
    return pool(
        settings.database_url, application_name="ecl-poller", min_size=1, max_size=8, metrics=metrics, retry=retry
    )


@asynccontextmanager
async def open_context(
    settings: ConnectorSettings,
    kafka: KafkaSettings,
    database: TimedPool,
    clock: Clock,
    measured: tuple[CollectorRegistry, PollerMetrics],
) -> AsyncIterator[PollContext]:
    """Opens the way from the portal's answers to Kafka, with the poller's database beside it."""
    collectors, metrics = measured
    dialect = load_dialect(settings.dialect_file)
    store = PostgresPollStore(database, keyring(settings), holder(), settings.lease_seconds)
    async with (
        Publisher.open(kafka, clock, collectors=collectors) as producer,
        RegistryReplica.open(kafka, clock, metrics=ReplicaMetrics(collectors)) as replica,
        open_session(settings) as session,
    ):
        publisher = KafkaRawPublisher(producer, replica, clock, metrics)

        def portal_for(job: PollJob) -> PortalClient:
            archive = partial(publisher.archive, mapping_version=job.mapping_version)
            return PortalClient(session, dialect, clock, archive, timeout_seconds=settings.request_timeout_seconds)

        polling = Polling(store, publisher, portal_for, dialect=dialect, clock=clock, observer=Observer(metrics))
        yield PollContext(polling, store, publisher, replica, producer, portal_for, dialect)


@asynccontextmanager
async def open_session(settings: ConnectorSettings) -> AsyncIterator[aiohttp.ClientSession]:
    """No proxy from the environment: the codes in the URL go to the portal and nowhere else."""
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    async with aiohttp.ClientSession(
        connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


def keyring(settings: ConnectorSettings) -> Keyring:
    previous = settings.key_encryption_key_previous
    return Keyring(MasterKey.parse(settings.key_encryption_key), [MasterKey.parse(previous)] if previous else [])


def holder() -> str:
    """Names this process in the leases."""
    return f"{socket.gethostname()}/{os.getpid()}/{os.urandom(4).hex()}"


async def _drain(runner: Runner, seconds: float) -> None:
    """What is not done in time is left to the leases."""
    try:
        async with asyncio.timeout(max(seconds, 0.1)):
            await runner.drain()
    except TimeoutError:
        return
