"""Where ingest-api is put together: the only place that names concrete parts."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from metering_common.contract import topics
from metering_common.http.bodies import BodyLimits, Pace
from metering_common.http.token_buckets import Rate
from metering_common.kafka.publisher import Publisher
from metering_common.registry.replica import RegistryReplica
from metering_common.service.admin_server import AdminServer
from metering_common.service.clock import SystemClock
from metering_common.service.collector import open_tracing
from metering_common.service.metrics import ReplicaMetrics
from metering_common.service.telemetry import loop_lag, new_collectors
from metering_ingest_api.adapters.access_log import AccessLog
from metering_ingest_api.adapters.drain import Drain
from metering_ingest_api.adapters.exchange import Exchanges
from metering_ingest_api.adapters.http import Api, Bounds, published
from metering_ingest_api.adapters.listener import Listener
from metering_ingest_api.adapters.openapi import load_definition
from metering_ingest_api.adapters.outcome_scan import OutcomesScan
from metering_ingest_api.adapters.outcomes import OutcomesTail
from metering_ingest_api.adapters.tracing import traced_by
from metering_ingest_api.application import IngestService
from metering_ingest_api.domain.in_flight import InFlight
from metering_ingest_api.domain.rates import GatewayRates, Rates
from metering_ingest_api.domain.tokens import Tokens
from metering_ingest_api.metrics import IngestMetrics
from metering_ingest_api.settings import IngestSettings

NAME = "ingest-api"
TOPICS = (topics.RAW, topics.OUTCOMES, topics.REGISTRY)


class IngestApi:
    """The running ingest-api. `port` is the public one, `admin_port` the other."""

    def __init__(self, listener: Listener, admin: AdminServer) -> None:
        self._listener, self._admin = listener, admin

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def admin_port(self) -> int:
        return self._admin.port

    async def run(self) -> None:
        """Everything happens in the server's own tasks."""
        await asyncio.Event().wait()


@asynccontextmanager
async def build(settings: IngestSettings) -> AsyncIterator[IngestApi]:
    """Opened downwards, closed upwards. Readiness is the last thing true and the first thing false."""
    clock = SystemClock()
    collectors = new_collectors(NAME, "metering-ingest-api")
    metrics = IngestMetrics(collectors)
    async with (
        open_tracing(NAME, settings.tracing) as tracing,
        loop_lag(collectors, clock),
        AccessLog.open(NAME, clock, enabled=settings.log_level in ("debug", "info")) as access_log,
        AdminServer(settings.admin_host, settings.admin_port, collectors, clock) as admin,
        topics.checked(settings.kafka, TOPICS, admin.start_retry("kafka")),
        RegistryReplica.open(settings.kafka, clock, metrics=ReplicaMetrics(collectors)) as replica,
        Publisher.open(
            settings.kafka, clock, max_in_flight_bytes=settings.max_in_flight_bytes, collectors=collectors
        ) as publisher,
        OutcomesTail.open(settings.kafka, clock, metrics) as tail,
        OutcomesScan.open(settings.kafka, metrics) as scan,
    ):
        admin.add_check("registry", replica.not_ready_reason)
        tokens = Tokens(replica.registry)
        metrics.tokens.set_function(lambda: len(tokens))
        listener, drain = Listener(settings, metrics), Drain()
        ingest_api = IngestService(replica, publisher, (tail, scan), tokens, clock)
        api = Api(ingest_api, make_bounds(settings, metrics), load_definition(), clock, metrics)
        paths = published(api, Exchanges(clock, metrics, access_log, drain), traced_by(tracing))
        async with listener.listen(paths, settings, drain):
            admin.ready = True
            try:
                yield IngestApi(listener, admin)
            finally:
                admin.ready = False
                drain.draining = True
                await asyncio.sleep(settings.unready_seconds)


def make_bounds(settings: IngestSettings, metrics: IngestMetrics) -> Bounds:
    in_flight = InFlight(settings.max_in_flight_bytes, settings.max_in_flight_requests)
    metrics.in_flight_bytes.set_function(lambda: in_flight.bytes)
    metrics.in_flight_requests.set_function(lambda: in_flight.requests)
    pace = Pace(settings.body_seconds, settings.body_bytes_per_second, settings.body_max_seconds)
    rates = Rates(
        Rate(settings.requests_per_second, settings.requests_burst),
        Rate(settings.bytes_per_second, settings.bytes_burst),
        Rate(settings.values_per_second, settings.values_burst),
    )
    limits = BodyLimits(settings.max_body_bytes, settings.max_wire_bytes, pace)
    return Bounds(limits, GatewayRates(rates), in_flight)
