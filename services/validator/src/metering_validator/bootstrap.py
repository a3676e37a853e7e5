"""Where the validator is put together, the only place that names concrete adapters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from metering_common import topics
from metering_common.admin import AdminServer
from metering_common.clock import SystemClock
from metering_common.metrics import ReplicaMetrics
from metering_common.publisher import Publisher
from metering_common.registry import RegistryReplica
from metering_common.telemetry import loop_lag, new_registry
from metering_common.tracing import open_tracing, stage_trace
from metering_validator.adapters.process import end_process
from metering_validator.adapters.stream import JudgementStream
from metering_validator.application import Validator
from metering_validator.metrics import Metrics
from metering_validator.settings import Settings

PUBLISH_DEADLINE_SECONDS = 10.0
"""Longer than the door's: nobody waits for an answer here, and outputs sent again are only more for a slow Kafka."""
TOPICS = (topics.RAW, topics.JUDGED, topics.OUTCOMES, topics.DEAD, topics.REGISTRY)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[JudgementStream]:
    """Opened from the top down, closed from the bottom up; it judges from the moment when the registry is read."""
    clock = SystemClock()
    collectors = new_registry("validator", "metering-validator")
    metrics = Metrics(collectors)
    async with (
        open_tracing("validator", settings.tracing) as tracing,
        loop_lag(collectors, clock),
        AdminServer(settings.admin_host, settings.admin_port, collectors, clock) as admin,
        topics.checked(settings.kafka, TOPICS, admin.patience("kafka")),
        RegistryReplica.open(settings.kafka, clock, metrics=ReplicaMetrics(collectors)) as replica,
        Publisher.open(
            settings.kafka, clock, deadline_seconds=PUBLISH_DEADLINE_SECONDS, registry=collectors
        ) as publisher,
    ):
        admin.add_check("registry", replica.not_ready_reason)
        admin.add_check("kafka", publisher.unavailable)
        await replica.wait_ready()
        validator = Validator(
            replica, publisher, settings.limits, clock, metrics, trace=stage_trace(tracing, "judge", topics.RAW)
        )
        async with JudgementStream.open(settings, validator, metrics, end_process) as stream:
            admin.add_check("stream", stream.not_ready_reason)
            admin.ready = True
            try:
                yield stream
            finally:
                admin.ready = False
