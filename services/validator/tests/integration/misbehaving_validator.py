"""A validator process whose work misbehaves after its first 100 records, by `raise` or `cancel`; `end` or `carry-on`.

With `carry-on` the process does not end as it should: then Faust does what it does, and only the commit guard is left.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

from prometheus_client import CollectorRegistry

from metering_common.service.lifecycle import serve
from metering_common.service.settings import load_settings
from metering_validator.adapters.process import end_process
from metering_validator.adapters.stream import ValidationStream
from metering_validator.metrics import Metrics
from metering_validator.record_results import RawRecord
from metering_validator.settings import Settings

WELL_BEHAVED = 100
MODE, END = sys.argv[1:3]


class NotEndedError(Exception):
    """What the body raises into Faust where it should have ended the process."""


def carry_on() -> NoReturn:
    raise NotEndedError


class BatchValidator:
    def __init__(self) -> None:
        self.validated = 0
        self.stream: ValidationStream | None = None

    async def validate(self, records: Sequence[RawRecord]) -> None:
        self.validated += len(records)
        if self.validated <= WELL_BEHAVED:
            return
        if MODE == "raise":
            raise RuntimeError("a rule raised")
        assert self.stream is not None
        for actor in self.stream._app.agents["validation"]._actors:
            actor.actor_task.cancel()
        await asyncio.sleep(60)


@asynccontextmanager
async def build(settings: Settings) -> AsyncIterator[ValidationStream]:
    validate = BatchValidator()
    end = end_process if END == "end" else carry_on
    async with ValidationStream.open(settings, validate, Metrics(CollectorRegistry()), end) as validate.stream:
        yield validate.stream


if __name__ == "__main__":
    sys.exit(serve("validator", load_settings(Settings), build))
