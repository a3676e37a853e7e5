"""Where the validator is put together, the only place that names concrete adapters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from metering_common.contract import topics
from metering_common.kafka.publisher import Publisher
from metering_common.registry.replica import RegistryReplica
from metering_common.service.admin_server import AdminServer
from metering_common.service.clock import SystemClock
from metering_common.service.collector import open_tracing
from metering_common.service.metrics import ReplicaMetrics
from metering_common.service.telemetry import loop_lag, new_collectors
from metering_common.service.tracing import stage_trace
from metering_validator.adapters.process import end_process
from metering_validator.adapters.stream import ValidationStream
from metering_validator.application import Validator
from metering_validator.metrics import Metrics
from metering_validator.settings import Settings

PUBLISH_DEADLINE_SECONDS = 10.0
"""Longer than ingest-api's: nobody waits for an answer here, and outputs sent again are only more for a slow Kafka."""
TOPICS = (topics.RAW, topics.VALIDATED, topics.OUTCOMES, topics.DEAD, topics.REGISTRY)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[ValidationStream]:
    """Opened from the top down, closed from the bottom up; it validates from the moment when the registry is read."""
    clock = SystemClock()
    collectors = new_collectors("validator", "metering-validator")
    metrics = Metrics(collectors)
    async with (
        open_tracing("validator", settings.tracing) as tracing,
        loop_lag(collectors, clock),
        AdminServer(settings.admin_host, settings.admin_port, collectors, clock) as admin,
        topics.checked(settings.kafka, TOPICS, admin.start_retry("kafka")),
        RegistryReplica.open(settings.kafka, clock, metrics=ReplicaMetrics(collectors)) as replica,
        Publisher.open(
            settings.kafka, clock, deadline_seconds=PUBLISH_DEADLINE_SECONDS, collectors=collectors
        ) as publisher,
    ):
        admin.add_check("registry", replica.not_ready_reason)
        admin.add_check("kafka", publisher.unavailable)
        await replica.wait_ready()
        validator = Validator(
            replica, publisher, settings.limits, clock, metrics, trace=stage_trace(tracing, "validate", topics.RAW)
        )
        async with ValidationStream.open(settings, validator, metrics, end_process) as stream:
            admin.add_check("stream", stream.not_ready_reason)
            admin.ready = True
            try:
                yield stream
            finally:
                admin.ready = False
