"""The only place that names auth's concrete parts: opened in this order, closed in reverse."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from aiohttp import web

from metering_auth.adapters.http.bodies import Intake
from metering_auth.adapters.http.oauth import OAuth
from metering_auth.adapters.http.refresh_endpoint import RefreshEndpoint
from metering_auth.adapters.http.server import application
from metering_auth.adapters.kafka.relay import Relay
from metering_auth.adapters.postgres.key_lifecycle import KeyLifecycle
from metering_auth.adapters.postgres.scheduled_work import ScheduledWork
from metering_auth.adapters.postgres.signing_keys import SigningKeys
from metering_auth.adapters.postgres.token_store import TokenStore
from metering_auth.application.client_revocation import ClientRevocation
from metering_auth.application.instants import Instants, database_clock
from metering_auth.application.refresh import Refresher
from metering_auth.application.restore import ForgottenTokens
from metering_auth.application.schedule import Schedule
from metering_auth.domain.limits import AttemptLimits, per_minute
from metering_auth.metrics import IdentityMetrics, RegistryMetrics
from metering_auth.settings import AuthSettings
from metering_common.contract import topics
from metering_common.http.bodies import BodyLimits, Pace
from metering_common.postgres import pool as postgres
from metering_common.postgres.pool import TimedPool
from metering_common.service import telemetry
from metering_common.service.admin_server import AdminServer
from metering_common.service.clock import SystemClock
from metering_common.service.metrics import PoolMetrics

STATEMENT_SECONDS = 2.0  # of a refresh; also how long a stopped process may hold a revocation up
RELAY_CONNECTIONS = 3
RELAY_STATEMENT_SECONDS = 120.0  # a comparison reads all tables


Topic = Callable[[], Awaitable[None]]
"""Returns when the registry's topic is there and as strong as its contract; raises when it is weaker."""


class AuthService:
    """The parts that run until the service stops; it is told which ports were taken."""

    def __init__(self, relay: Relay, schedule: Schedule, topic: Topic, http_port: int, admin_port: int) -> None:
        self._relay = relay
        self._schedule = schedule
        self._topic = topic
        self.http_port = http_port
        self.admin_port = admin_port

    async def drain(self) -> None:
        """Both stop after what they have in flight; the lease is free for the next replica at once."""
        self._schedule.stop()
        await self._relay.stop()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._publish())
            tasks.create_task(self._schedule.run())

    async def _publish(self) -> None:
        """Gateways refresh their tokens meanwhile, also before there is a Kafka."""
        await self._topic()
        await self._relay.run()


@asynccontextmanager
async def build(settings: AuthSettings, instants: Instants = database_clock) -> AsyncIterator[AuthService]:
    """The whole service. Tests bring a controlled clock for tokens and keys."""
    clock = SystemClock()
    collectors = telemetry.new_collectors("auth", "metering-auth")
    metrics, pools = IdentityMetrics(collectors), PoolMetrics(collectors)
    metrics.key_lifetime_seconds.set(settings.key_active_seconds + settings.key_publish_seconds)
    async with (
        telemetry.loop_lag(collectors, clock),
        AdminServer(settings.admin_host, settings.admin_port, collectors, clock) as admin,
        _pool(settings, "auth", (settings.database_connections, STATEMENT_SECONDS), pools, admin) as pool,
        _pool(settings, "auth-relay", (RELAY_CONNECTIONS, RELAY_STATEMENT_SECONDS), pools, admin) as relay_pool,
    ):
        keys = SigningKeys(settings.keyring())
        lifecycle = KeyLifecycle(settings.keyring(), settings.key_times(), instants)
        work = ScheduledWork(pool, keys, lifecycle, instants)
        schedule = Schedule(work, metrics, every_seconds=settings.schedule_seconds)
        await schedule.prepare()
        admin.add_check("database", schedule.not_ready_reason)
        store = TokenStore(pool, keys, settings.lifetimes(), instants)
        forgotten = ForgottenTokens(store, keys, metrics)
        app = _endpoints(settings, store=store, keys=keys, forgotten=forgotten, metrics=metrics)
        relay = Relay(relay_pool, settings.kafka, RegistryMetrics(collectors))
        async with _serving(app, settings) as port:
            retry = admin.start_retry("kafka", needed=False)
            topic = partial(topics.check_topics, settings.kafka, [topics.REGISTRY], retry)
            service = AuthService(relay, schedule, topic, port, admin.port)
            admin.ready = True
            try:
                yield service
            finally:
                admin.ready = False
                await forgotten.close()
                await service.drain()


def _pool(
    settings: AuthSettings, name: str, limits: tuple[int, float], metrics: PoolMetrics, admin: AdminServer
) -> AbstractAsyncContextManager[TimedPool]:
    connections, statement_seconds = limits
    return postgres.pool(
        settings.database_url,
        application_name=name,
        max_size=connections,
        statement_timeout_seconds=statement_seconds,
        lock_timeout_seconds=statement_seconds,
        retry=admin.start_retry("database"),
        metrics=metrics,
    )


def _endpoints(
    settings: AuthSettings,
    *,
    store: TokenStore,
    keys: SigningKeys,
    forgotten: ForgottenTokens,
    metrics: IdentityMetrics,
) -> web.Application:
    """The façade and the standard endpoints over one use case; both count against the same limits."""
    clock = SystemClock()
    limits = AttemptLimits(
        per_minute(settings.failures_per_address_per_minute), per_minute(settings.attempts_per_gateway_per_minute)
    )
    refresher = Refresher(
        store=store,
        keys=keys,
        lifetimes=settings.lifetimes(),
        forgotten=forgotten,
        limits=limits,
        metrics=metrics,
        monotonic=clock.monotonic,
    )
    pace = Pace(settings.body_seconds, 1, settings.body_seconds)
    body = BodyLimits(settings.max_body_bytes, 0, pace)
    intake = Intake(body, settings.trusted_proxies, limits, clock.monotonic)
    standard = OAuth(
        refresher=refresher,
        revocation=ClientRevocation(store, keys, limits, clock.monotonic),
        keys=keys,
        intake=intake,
        clock=clock,
        public_url=settings.public_url,
        key_publish_seconds=settings.key_publish_seconds,
    )
    return application(RefreshEndpoint(refresher, intake), standard, metrics, clock)


@asynccontextmanager
async def _serving(app: web.Application, settings: AuthSettings) -> AsyncIterator[int]:
    """The port it listens on. Handlers read and cap bodies themselves, so nothing is inflated before them."""
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=settings.drain_seconds / 2)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.http_host, settings.http_port).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
