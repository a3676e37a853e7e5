"""The validator's use case: a batch of raw records becomes results, let go once all are acknowledged."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog
from aiokafka.structs import RecordMetadata

from metering_common.contract.metadata import (
    MalformedHeadersError,
    RecordHeaders,
    UnknownSchemaVersionError,
    decode_headers,
)
from metering_common.kafka.publisher import PublishUnavailableError, Record, RecordTooLargeError
from metering_common.service.clock import Clock
from metering_common.service.tracing import StageTrace, no_trace, trace_ids
from metering_validator.domain.context import Context, Limits
from metering_validator.domain.dictionary import Dictionary
from metering_validator.domain.poison import DeadShare
from metering_validator.metrics import Metrics
from metering_validator.record_results import RawRecord, RecordResult, Tally, malformed, validate_record
from metering_validator.registry_barrier import RegistryBarrier, Replica

MAX_RETRY_SECONDS = 900.0
"""Kafka gives up a consumer that does not poll for 1,000 s: a retry that lasts longer starts again in a new process."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class CannotGoOnError(Exception):
    """The process must end, and nothing of the batch in flight may be committed."""


class Publisher(Protocol):
    """Where results go; see `metering_common.kafka.publisher`."""

    async def publish(self, records: Sequence[Record]) -> list[RecordMetadata]: ...


class Validator:
    """Validates batches, one at a time."""

    def __init__(
        self,
        replica: Replica,
        publisher: Publisher,
        limits: Limits,
        clock: Clock,
        metrics: Metrics,
        *,
        pause_seconds: float = FIRST_PAUSE_SECONDS,
        trace: StageTrace = no_trace,
    ) -> None:
        self._replica = replica
        self._publisher = publisher
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._first_pause = pause_seconds
        self._trace = trace
        self._barrier = RegistryBarrier(replica, metrics)
        self._share = DeadShare()
        self._dictionary = Dictionary(())
        self._generation = -1
        self._oldest_ms: int | None = None
        metrics.lag_seconds.set_function(self._lag_seconds)

    async def validate(self, records: Sequence[RawRecord]) -> None:
        """Returns when every output of every record is acknowledged. Raises `CannotGoOnError`."""
        started = self._clock.monotonic()
        self._oldest_ms = min((record.timestamp_ms for record in records), default=None)
        headers = [_headers_of(record) for record in records]
        await self._barrier.wait(each.registry for each in headers if isinstance(each, RecordHeaders))
        self._refresh_dictionary()
        results = [self._validate(record, each) for record, each in zip(records, headers, strict=True)]
        self._check_dead_share(results)
        await self._deliver([output for validation in results for output in validation.outputs])
        seconds = self._clock.monotonic() - started
        readable = [each for each in headers if isinstance(each, RecordHeaders)]
        self._account(Tally(results), trace_ids(readable), seconds)
        self._trace(readable, seconds)
        self._oldest_ms = None

    def _lag_seconds(self) -> float:
        return 0.0 if self._oldest_ms is None else max(0.0, (self._clock.now_ms() - self._oldest_ms) / 1_000)

    def _refresh_dictionary(self) -> None:
        registry = self._replica.registry
        if registry.generation != self._generation:
            self._dictionary = Dictionary(registry.sensors.values())
            self._generation = registry.generation

    def _validate(self, record: RawRecord, headers: RecordHeaders | MalformedHeadersError) -> RecordResult:
        now_ms = self._clock.now_ms()
        if isinstance(headers, MalformedHeadersError):
            return malformed(record, str(headers), now_ms)
        device = self._replica.registry.devices.get(headers.device_id)
        return validate_record(
            record, Context(headers, record.position, device, self._dictionary, self._limits), now_ms
        )

    def _check_dead_share(self, results: Sequence[RecordResult]) -> None:
        """Before anything is sent: what is dead because of this release is not to reach the dead letters."""
        dead = [validation for validation in results if validation.error is not None]
        if self._share.too_many(self._clock.monotonic(), len(results), len(dead)):
            raise CannotGoOnError(f"over 1 % of the last minute's records are unreadable, the last: {dead[-1].error}")

    async def _deliver(self, outputs: Sequence[Record]) -> None:
        """Tries for as long as it takes, up to 900 s; what is sent twice has the same bytes."""
        give_up_at = self._clock.monotonic() + MAX_RETRY_SECONDS
        pause = self._first_pause
        while True:
            try:
                await self._publisher.publish(outputs)
            except PublishUnavailableError as error:
                if self._clock.monotonic() >= give_up_at:
                    raise CannotGoOnError(f"outputs not acknowledged within {MAX_RETRY_SECONDS:.0f} s") from error
                self._metrics.publish_retries.inc()
                log.warning("records.publish_retried", reason=error.reason, outputs=len(outputs))
            except RecordTooLargeError as error:
                raise CannotGoOnError(f"an output fits no topic: {error}") from error
            else:
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _account(self, tally: Tally, traces: Sequence[str], seconds: float) -> None:
        self._metrics.add(tally.totals, tally.findings, seconds)
        batches = tally.batch_ids()
        log.info("records.validated", batch_ids=batches, trace_ids=traces, **tally.totals, rules=tally.findings)


def _headers_of(record: RawRecord) -> RecordHeaders | MalformedHeadersError:
    try:
        return decode_headers(record.headers)
    except MalformedHeadersError as error:
        return error
    except UnknownSchemaVersionError as error:
        raise CannotGoOnError(f"{record.position}: {error}") from error
