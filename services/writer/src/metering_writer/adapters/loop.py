"""The loop that turns for as long as the writer lives: read a batch, store it, let its offsets go."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiokafka.errors import KafkaError

from metering_common.contract.metadata import UnknownSchemaVersionError
from metering_writer.adapters.dimensions import DimensionKeeper
from metering_writer.adapters.notes import WriterNotes
from metering_writer.adapters.validated_log import ValidatedLog
from metering_writer.application import StaleBatchError, Writing
from metering_writer.domain.error_classification import TooManyDeadError, backoff_seconds

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class WriterLoop:
    """`metering_common.service.lifecycle.Service`."""

    def __init__(
        self,
        validated: ValidatedLog,
        writing: Writing,
        dimensions: DimensionKeeper,
        notes: WriterNotes,
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._validated, self._writing, self._dimensions = validated, writing, dimensions
        self._notes, self._pause = notes, pause
        self._leaving = False
        self._ended = asyncio.Event()
        self._ended.set()
        self._failures = 0

    async def run(self) -> None:
        """Ends by itself only for a record of a newer release: nothing may be committed past it."""
        self._ended.clear()
        keeping = asyncio.create_task(self._dimensions.run())
        try:
            while not self._leaving:
                await self._turn()
        finally:
            self._ended.set()
            keeping.cancel()
            await asyncio.wait({keeping})

    async def leave(self) -> None:
        """Finishes the batch in flight and stops."""
        self._leaving = True
        await self._ended.wait()

    async def _turn(self) -> None:
        try:
            records = await self._validated.batch(lambda: self._leaving)
            if records:
                await self._writing.write(records)
                await self._validated.commit(records)
            self._failures = 0
        except StaleBatchError as stale:
            log.warning("batch.stale", reason=str(stale))
            self._validated.doubt()
        except TooManyDeadError as error:
            self._notes.stop(str(error))
            await self._stay_stopped()
        except UnknownSchemaVersionError:
            raise
        except KafkaError as error:
            log.warning("kafka.failed", error=repr(error))
            await self._wait()
        except Exception as error:  # noqa: BLE001  the database may be away while offsets are asked for
            self._notes.database_failed(error)
            await self._wait()

    async def _wait(self) -> None:
        self._validated.doubt()
        await self._pause(backoff_seconds(self._failures))
        self._failures += 1

    async def _stay_stopped(self) -> None:
        """Alive, so that the alarm and the reason can be read; a new start is an operator's word."""
        while not self._leaving:
            await self._pause(1)
