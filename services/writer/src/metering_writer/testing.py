"""Validated records for the tests and benches of the writer; nothing here runs in the service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import aiohttp

from metering_common.contract.batch_id import new_batch_id
from metering_common.contract.codec import encode
from metering_common.contract.messages import Counts, Refusal, Rows, Status, Validated
from metering_common.contract.metadata import (
    KafkaHeaders,
    RecordHeaders,
    RecordPosition,
    RegistryVersion,
    encode_headers,
)
from metering_common.contract.rev import http_rev
from metering_common.contract.topics import RAW, VALIDATED
from metering_common.kafka import clients as kafka_client
from metering_common.postgres.pool import TimedPool
from metering_common.service.settings import KafkaSettings
from metering_writer.adapters.loop import WriterLoop
from metering_writer.bootstrap import build
from metering_writer.domain.records import Record, Source
from metering_writer.settings import WriterSettings

RECEIVED_AT_MS = 1_773_241_518_021
MEASURED_AT = 1_773_241_500


def rows(
    sensors: tuple[int, ...] = (3, 6),
    timestamps: Sequence[int] = (MEASURED_AT,),
    values: Sequence[float] | None = None,
    quality: Sequence[int] = (),
) -> Rows:
    filled = [float(number) for number in range(len(sensors) * len(timestamps))] if values is None else list(values)
    return Rows(sensors=sensors, timestamps=list(timestamps), values=filled, quality=list(quality))


def validated(*blocks: Rows, refusals: Sequence[Refusal] = (), not_taken: int = 0, repeated: int = 0) -> Validated:
    accepted = sum(len(block.values) for block in blocks)
    refused = sum(refusal.count for refusal in refusals)
    counts = Counts(
        measures=sum(len(block.timestamps) for block in blocks),
        values=accepted + refused + not_taken + repeated,
        accepted=accepted,
        refused=refused,
        not_taken=not_taken,
        repeated=repeated,
    )
    raw = RecordPosition(RAW, 0, 0)
    return Validated(raw=raw, status=Status.VALIDATED, counts=counts, rows=list(blocks), refusals=list(refusals))


def headers(
    device: int = 29,
    received_at_ms: int = RECEIVED_AT_MS,
    *,
    batch_id: UUID | None = None,
    item: int = 0,
    rev: int | None = None,
    replays: RecordPosition | None = None,
) -> RecordHeaders:
    batch = batch_id or new_batch_id(received_at_ms)
    return RecordHeaders(
        batch_id=batch,
        item=item,
        items=item + 1,
        provider_id=1,
        gateway_id=2,
        device_id=device,
        source="http" if replays is None else "replay",
        received_at_ms=received_at_ms,
        rev=http_rev(received_at_ms, batch, item) if rev is None else rev,
        registry=RegistryVersion(str(uuid4()), 148),
        replays=replays,
    )


def record(about: RecordHeaders, content: Validated, offset: int = 0, partition: int = 0) -> Record:
    position = RecordPosition(VALIDATED, partition, offset)
    key = str(about.device_id).encode()
    return Record(Source(position, about.received_at_ms, key, b"", encode_headers(about)), about, content)


class BatchValidator:
    """Stands in for the validator: puts validated records on the topic."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def send(self, *records: Record) -> None:
        """To each record's own partition, in order."""
        await self.send_raw(*((one.partition, encode_headers(one.headers), encode(one.validated)) for one in records))

    async def send_raw(self, *messages: tuple[int, KafkaHeaders, bytes]) -> None:
        producer = kafka_client.producer(self._kafka)
        await producer.start()
        try:
            for partition, headers, value in messages:
                await producer.send_and_wait(VALIDATED, value, key=b"29", partition=partition, headers=headers)
        finally:
            await producer.stop()


class Outside:
    """What can be seen of a running writer from outside: its rows and its admin port."""

    def __init__(self, pool: TimedPool, settings: WriterSettings) -> None:
        self._pool = pool
        self._url = f"http://127.0.0.1:{settings.admin_port}"

    async def count(self, table: str = "measurement") -> int:
        return int(await self._pool.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608  tests' own

    async def stored(self, records: int) -> None:
        """Waits until the ledger has this many rows."""

        async def enough() -> bool:
            return await self.count("ingest_batch") >= records

        await until(enough)

    async def reasons(self) -> dict[str, str]:
        """Why it is not ready."""
        async with aiohttp.ClientSession(self._url) as client, client.get("/readyz") as answer:
            return dict((await answer.json())["reasons"])

    async def unready(self, check: str) -> str:
        """Waits until this check has a reason."""

        async def has_reason() -> bool:
            return check in await self.reasons()

        await until(has_reason)
        return (await self.reasons())[check]

    async def ready(self) -> None:
        """Waits until nothing is wrong."""

        async def is_ready() -> bool:
            return not await self.reasons()

        await until(is_ready)

    async def metrics(self) -> dict[str, float]:
        """Each sample by its name and labels."""
        async with aiohttp.ClientSession(self._url) as client, client.get("/metrics") as answer:
            lines = (await answer.text()).splitlines()
        samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in samples}


@asynccontextmanager
async def running(settings: WriterSettings) -> AsyncIterator[WriterLoop]:
    """A writer in this process, drained at the end."""
    async with build(settings) as loop:
        task = asyncio.create_task(loop.run())
        yield loop
    await task


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 120) -> None:
    """Waits until it is true; fails after the time."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(0.05)
