"""`metering-writer registers`: the second program, which keeps registers and activity true behind the writer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from metering_common.postgres import pool as postgres
from metering_common.service.admin_server import AdminServer
from metering_common.service.clock import SystemClock
from metering_common.service.lifecycle import serve
from metering_common.service.metrics import PoolMetrics
from metering_common.service.settings import load_settings
from metering_common.service.telemetry import loop_lag, new_collectors
from metering_writer.adapters.register_loop import RegisterLoop
from metering_writer.adapters.registers import PostgresRegisters
from metering_writer.metrics import RegistersMetrics
from metering_writer.settings import RegistersSettings

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


def main() -> int:
    return serve("registers", load_settings(RegistersSettings), build)


@asynccontextmanager
async def build(settings: RegistersSettings) -> AsyncIterator[RegisterLoop]:
    """The program, ready to run."""
    clock = SystemClock()
    collectors = new_collectors("registers", "metering-writer")
    metrics = RegistersMetrics(collectors)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(loop_lag(collectors, clock))
        admin_server = AdminServer(settings.admin_host, settings.admin_port, collectors, clock)
        admin = await stack.enter_async_context(admin_server)
        opened = postgres.pool(
            settings.database_url,
            application_name="metering-registers",
            statement_timeout_seconds=settings.statement_timeout_seconds,
            lock_timeout_seconds=settings.statement_timeout_seconds,
            retry=admin.start_retry("database"),
            metrics=PoolMetrics(collectors),
        )
        pool = await stack.enter_async_context(opened)
        registers = PostgresRegisters(pool, settings.batch_notes)
        loop = RegisterLoop(registers, metrics, clock, asyncio.sleep, settings.pause_seconds)
        admin.add_check("database", loop.database_reason)
        admin.ready = True
        try:
            yield loop
        finally:
            admin.ready = False
            await loop.leave()
