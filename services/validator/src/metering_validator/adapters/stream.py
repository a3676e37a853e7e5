"""The validator meets Kafka here: a Faust agent takes raw records in batches, and lets them go when they are validated.

The body of the agent's loop never raises and is never cancelled: whatever goes wrong in it ends the process, and the
records are validated again. What may be committed is decided by `commit_guard`, not by Faust.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn, Protocol, Self, cast

import faust
import structlog
from faust.types import TP, EventT, StreamT

from metering_common.contract import topics
from metering_common.contract.metadata import KafkaHeaders, RecordPosition
from metering_validator.adapters.batch_limit import BatchLimit
from metering_validator.adapters.commit_guard import GuardedConsumer, GuardedTransport
from metering_validator.adapters.faust_settings import faust_settings
from metering_validator.metrics import Metrics
from metering_validator.record_results import RawRecord
from metering_validator.settings import Settings

CRASH_CHECK_SECONDS = 0.5

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class BatchValidator(Protocol):
    """What is done with a batch; see `metering_validator.application`."""

    async def validate(self, records: Sequence[RawRecord]) -> None: ...


class FaustCrashedError(Exception):
    """Faust has given up; its own log says why."""


class TablelessApp(faust.App):
    """Faust without its folder in the working directory: it is for tables, and the root file system is read-only."""

    def _create_directories(self) -> None:
        pass


class ValidationStream:
    """Runs while its context is open; leaving the context drains it."""

    def __init__(
        self, settings: Settings, validate: BatchValidator, metrics: Metrics, end_process: Callable[[], NoReturn]
    ) -> None:
        self._settings = settings
        self._validate = validate
        self._metrics = metrics
        self._end_process = end_process
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._app = TablelessApp(**faust_settings(settings))
        self._app.transport = GuardedTransport(self._app.conf.broker_consumer, self._app)
        raw = self._app.topic(topics.RAW, key_serializer="raw", value_serializer="raw")
        self._app.agent(raw, concurrency=1, name="validation")(self._validate_all)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, settings: Settings, validate: BatchValidator, metrics: Metrics, end_process: Callable[[], NoReturn]
    ) -> AsyncIterator[Self]:
        stream = cls(settings, validate, metrics, end_process)
        await stream._app.start()
        try:
            yield stream
        finally:
            await stream._drain()

    async def run(self) -> None:
        """Returns only when Faust has given up."""
        while not self._app.crashed:  # noqa: ASYNC110  Faust's own event for it is private
            await asyncio.sleep(CRASH_CHECK_SECONDS)
        raise FaustCrashedError

    def not_ready_reason(self) -> str | None:
        """A replica without partitions is ready all the same: there may be more replicas than partitions."""
        return "Faust has crashed" if self._app.crashed else None

    async def _drain(self) -> None:
        """Takes nothing more, finishes what is in flight, commits and leaves; `lifecycle` sees to it that this ends."""
        self._draining = True
        await self._idle.wait()
        await self._app.consumer.commit()
        await self._app.stop()

    async def _validate_all(self, stream: StreamT[bytes]) -> None:
        limit = BatchLimit(self._settings.batch_records, self._settings.batch_bytes)
        taking = cast("faust.Stream[bytes]", stream)
        taking.add_processor(limit.came)
        async for events in taking.take_events(limit, within=self._settings.batch_wait_seconds):
            limit.taken(events)
            if not self._draining:
                await self._validate_batch(events)

    async def _validate_batch(self, events: Sequence[EventT[bytes]]) -> None:
        self._idle.clear()
        log.debug("records.taken", records=len(events))
        try:
            await self._validate.validate([_raw_record(event) for event in events])
            self._let_go(events)
        except BaseException as error:
            log.critical("records.cannot_go_on", error=repr(error), records=len(events), exc_info=error)
            self._end_process()
        finally:
            self._idle.set()

    def _let_go(self, events: Sequence[EventT[bytes]]) -> None:
        """Not what an older assignment gave: its partitions may have a new owner, which validates it again."""
        generation = self._app.consumer_generation_id
        messages = [event.message for event in events if event.message.generation_id == generation]
        if len(messages) < len(events):
            self._metrics.stale_batches.inc()
        cast("GuardedConsumer", self._app.consumer).let_go(_next_offsets(messages))


def _next_offsets(messages: Sequence[Any]) -> dict[TP, int]:
    offsets: dict[TP, int] = {}
    for message in messages:
        offsets[message.tp] = max(message.offset + 1, offsets.get(message.tp, 0))
    return offsets


def _raw_record(event: EventT[bytes]) -> RawRecord:
    message = event.message
    return RawRecord(
        position=RecordPosition(message.topic, message.partition, message.offset),
        timestamp_ms=round(message.timestamp * 1_000),
        key=message.key,
        value=message.value,
        headers=_header_list(message.headers),
    )


def _header_list(headers: Any) -> KafkaHeaders:
    """As aiokafka gives them, pair by pair; equal names keep their order."""
    return list(headers or ())
