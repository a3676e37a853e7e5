"""Where an entry goes that no code can store: `measurements.dead.v1`, as it came, with the error beside it."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from metering_common.contract.dead_letters import dead_letter
from metering_common.contract.topics import DEAD
from metering_common.kafka.publisher import Publisher, PublishUnavailableError, Record
from metering_common.service.clock import Clock
from metering_writer.domain.entries import ValidatedEntry
from metering_writer.domain.error_classification import backoff_seconds

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class KafkaDeadLetters:
    """`application.DeadLetters`; the dead entry is stored only after its letter has been acknowledged."""

    def __init__(self, publisher: Publisher, clock: Clock, pause: Callable[[float], Awaitable[None]]) -> None:
        self._publisher, self._clock, self._pause = publisher, clock, pause

    async def send(self, entries: Sequence[ValidatedEntry]) -> None:
        letters = [self._letter(entry) for entry in entries]
        failures = 0
        while True:
            try:
                await self._publisher.publish(letters)
            except PublishUnavailableError as error:
                log.warning("dead_letter.waiting", reason=error.reason)
                await self._pause(backoff_seconds(failures))
                failures += 1
            else:
                return

    def _letter(self, entry: ValidatedEntry) -> Record:
        letter = dead_letter(entry.envelope, entry.place, entry.fault or "", "writer", self._clock.now_ms())
        return Record(DEAD, None, letter.value, letter.headers)
