"""The only place that names the poller's concrete parts, in the order in which they are opened."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
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
from metering_ecl_poller.adapters.outlet import KafkaOutlet
from metering_ecl_poller.adapters.runner import Runner
from metering_ecl_poller.adapters.store import Store
from metering_ecl_poller.application import Polling
from metering_ecl_poller.domain.job import Job
from metering_ecl_poller.metrics import PollerMetrics
from metering_ecl_poller.portal.client import PortalClient
from metering_ecl_poller.portal.dialect import Dialect, load_dialect
from metering_ecl_poller.settings import PollerSettings, StoreSettings

TOPICS = (topics.ECL_ANSWERS, topics.RAW, topics.REGISTRY)
DRAIN_MARGIN_SECONDS = 3.0  # of the drain, kept for closing what is behind the polls


@dataclass(frozen=True)
class Line:
    """What service and tool poll with."""

    polling: Polling
    store: Store
    outlet: KafkaOutlet
    replica: RegistryReplica
    publisher: Publisher
    client_for: Callable[[Job], PortalClient]
    dialect: Dialect


@asynccontextmanager
async def build(settings: PollerSettings, clock: Clock | None = None) -> AsyncIterator[Runner]:
    """The service. Topics that are missing or weaker than their contracts stop the start."""
    clock = clock or SystemClock()
    collectors = new_collectors("ecl-poller", "metering-ecl-poller")
    metrics = PollerMetrics(collectors)
    async with (
        open_tracing("ecl-poller", settings.tracing) as tracing,
        loop_lag(collectors, clock),
        AdminServer(settings.admin_host, settings.admin_port, collectors, clock) as admin,
        topics.checked(settings.kafka, TOPICS, admin.start_retry("kafka")),
        open_pool(settings, PoolMetrics(collectors), admin.start_retry("database")) as database,
        open_line(settings, settings.kafka, database, clock, (collectors, metrics)) as line,
    ):
        admin.add_check("registry", line.replica.not_ready_reason)
        await line.replica.wait_ready()
        limits = settings.max_requests, settings.idle_seconds
        runner = Runner(line.store, line.polling, clock, metrics, limits, tracing=tracing)
        admin.add_check("kafka", line.publisher.unavailable)
        admin.add_check("database", lambda: runner.database_trouble)
        admin.ready = True
        yield runner
        admin.ready = False
        await _drain(runner, settings.drain_seconds - DRAIN_MARGIN_SECONDS)


def open_pool(
    settings: StoreSettings, metrics: PoolMetrics | None = None, retry: RetryPolicy | None = None
) -> AbstractAsyncContextManager[TimedPool]:
    return pool(
        settings.database_url, application_name="ecl-poller", min_size=1, max_size=8, metrics=metrics, retry=retry
    )


@asynccontextmanager
async def open_line(
    settings: StoreSettings,
    kafka: KafkaSettings,
    database: TimedPool,
    clock: Clock,
    measured: tuple[CollectorRegistry, PollerMetrics],
) -> AsyncIterator[Line]:
    """From the portal's answers to Kafka, with the book beside it."""
    collectors, metrics = measured
    dialect = load_dialect(settings.dialect_file)
    store = Store(database, keyring(settings), holder(), settings.lease_seconds)
    async with (
        Publisher.open(kafka, clock, collectors=collectors) as publisher,
        RegistryReplica.open(kafka, clock, metrics=ReplicaMetrics(collectors)) as replica,
        open_session(settings) as session,
    ):
        outlet = KafkaOutlet(publisher, replica, clock, metrics)

        def client_for(job: Job) -> PortalClient:
            keep = partial(outlet.keep, mapping_version=job.mapping_version)
            return PortalClient(session, dialect, clock, keep, timeout_seconds=settings.request_timeout_seconds)

        polling = Polling(store, outlet, client_for, (dialect, clock, metrics))
        yield Line(polling, store, outlet, replica, publisher, client_for, dialect)


@asynccontextmanager
async def open_session(settings: StoreSettings) -> AsyncIterator[aiohttp.ClientSession]:
    """No proxy from the environment: the codes in the URL go to the portal and nowhere else."""
    context = ssl.create_default_context()
    if settings.ca_file is not None:
        context.load_verify_locations(settings.ca_file)
    connector = aiohttp.TCPConnector(limit=0, ssl=context)
    async with aiohttp.ClientSession(
        connector=connector, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session


def keyring(settings: StoreSettings) -> Keyring:
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
