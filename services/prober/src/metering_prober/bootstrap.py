"""The only place that names the prober's concrete parts: opened downwards, closed upwards."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from metering_common.postgres import pool as postgres
from metering_common.service.admin_server import AdminServer
from metering_common.service.clock import SystemClock
from metering_common.service.metrics import PoolMetrics
from metering_common.service.telemetry import loop_lag, new_collectors
from metering_gateway.api import InputApi
from metering_prober.adapters.certificates import servers
from metering_prober.adapters.inspections import Inspections
from metering_prober.adapters.public_api import GatewayClient
from metering_prober.adapters.readback import SqlReadback
from metering_prober.application import Prober
from metering_prober.metrics import InspectionMetrics, ProbeMetrics
from metering_prober.settings import ProberSettings

STATEMENT_SECONDS = 45.0  # of an inspection over two hours of a large ledger


class ProberService:
    """Both halves side by side; `admin_port` is the only port."""

    def __init__(self, prober: Prober, inspections: Inspections, inspect_seconds: float, admin: AdminServer) -> None:
        self._prober, self._inspections, self._inspect_seconds = prober, inspections, inspect_seconds
        self._admin = admin

    @property
    def admin_port(self) -> int:
        return self._admin.port

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._prober.run())
            tasks.create_task(self._inspections.run(self._inspect_seconds))


@asynccontextmanager
async def build(settings: ProberSettings) -> AsyncIterator[ProberService]:
    """It starts while ingest-api and the database are away: that is what it is to show."""
    clock = SystemClock()
    collectors = new_collectors("prober", "metering-prober")
    folders = settings.state_directory, settings.token_file
    async with (
        loop_lag(collectors, clock),
        AdminServer(settings.admin_host, settings.admin_port, collectors, clock) as admin,
        postgres.pool(
            settings.database_url,
            application_name="metering-prober",
            min_size=0,
            max_size=2,
            statement_timeout_seconds=STATEMENT_SECONDS,
            metrics=PoolMetrics(collectors),
        ) as pool,
        GatewayClient.open(
            InputApi(settings.api_url, settings.answer_seconds, settings.ca_file),
            folders,
            settings.device_number,
            settings.sensor_name,
        ) as ingest_api,
    ):
        readback = SqlReadback(pool, lambda: ingest_api.device_id, settings.sensor_name)
        prober = Prober(
            ingest_api,
            readback,
            clock,
            ProbeMetrics(collectors),
            every_seconds=settings.every_seconds,
            wait_seconds=settings.wait_seconds,
        )
        watched = servers(settings.api_url, settings.database_url.get_secret_value(), settings.certificates)
        silent = timedelta(hours=settings.silent_hours)
        inspections = Inspections(pool, InspectionMetrics(collectors), clock, silent, watched)
        admin.ready = True
        try:
            yield ProberService(prober, inspections, settings.inspect_seconds, admin)
        finally:
            admin.ready = False
