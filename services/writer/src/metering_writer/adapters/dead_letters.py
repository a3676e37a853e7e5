"""Where a record goes that no code can store: `measurements.dead.v1`, as it came, with the error beside it."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from metering_common.contract.metadata import DeadLetterNote, encode_dead_letter_headers
from metering_common.contract.topics import DEAD
from metering_common.kafka.publisher import Publisher, PublishUnavailableError
from metering_common.kafka.publisher import Record as KafkaRecord
from metering_common.service.clock import Clock
from metering_writer.domain.error_classification import backoff_seconds
from metering_writer.domain.records import Record

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class KafkaDeadLetters:
    """`application.DeadLetters`; the dead record is stored only after its letter has been acknowledged."""

    def __init__(self, publisher: Publisher, clock: Clock, pause: Callable[[float], Awaitable[None]]) -> None:
        self._publisher, self._clock, self._pause = publisher, clock, pause

    async def send(self, records: Sequence[Record]) -> None:
        for record in records:
            await self._send(self._letter(record))

    async def _send(self, letter: KafkaRecord) -> None:
        failures = 0
        while True:
            try:
                await self._publisher.publish([letter])
            except PublishUnavailableError as error:
                log.warning("dead_letter.waiting", reason=error.reason)
                await self._pause(backoff_seconds(failures))
                failures += 1
            else:
                return

    def _letter(self, record: Record) -> KafkaRecord:
        note = DeadLetterNote(
            source=record.source.position,
            error=record.fault or "",
            service="writer",
            died_at_ms=self._clock.now_ms(),
        )
        headers = encode_dead_letter_headers(record.source.headers, note)
        return KafkaRecord(DEAD, record.source.key, record.source.value, headers)
