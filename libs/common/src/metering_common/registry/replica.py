"""Keeps a registry in memory equal to `registry.v1`: read from its beginning at start, followed from then on."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Self

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from metering_common.contract import topics
from metering_common.contract.metadata import RegistryVersion
from metering_common.kafka.clients import MAX_BATCH_BYTES
from metering_common.kafka.consumers import open_consumer
from metering_common.registry.documents import RegistryDocument, document_key
from metering_common.registry.memory import Registry
from metering_common.service.cancellation import is_asked_to_end
from metering_common.service.clock import Clock
from metering_common.service.metrics import ReplicaMetrics
from metering_common.service.settings import KafkaSettings

Polls = AsyncGenerator[tuple[int, list[ConsumerRecord]], None]
Head = tuple[int, int] | None
OnChange = Callable[[str, RegistryDocument | None], None]

END_KEPT_SECONDS = 1.0
"""How long an answer about the topic's end is trusted."""
HEAD_CHECK_SECONDS = 5.0
"""How often the topic's first record is looked at: another one there means that the topic was recreated."""
RETRY_SECONDS = 0.5
_POLL_MS = 100  # a transaction's end moves the position without giving a record: it is seen this late at most
_POLL_RECORDS = 2_000  # taken in between two turns of the event loop
_REVOKING = (b"gateway:", b"provider:", b"key:")
_PARTITION = TopicPartition(topics.REGISTRY, 0)

__all__ = ["OnChange", "Registry", "RegistryReplica"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class _TopicRecreatedError(Exception):
    """The topic is not the one that was being read."""


class RegistryReplica:
    """Reads in the background while its context is open; Kafka may be away at start and later.

    `registry` stays empty until everything up to the end seen at start is read, and a `meta` document is among it.
    When the topic was recreated it is read again from its beginning; until that is done the registry stays as it was.
    `on_change` is called in the event loop with each record key that changed and its document, None for a removed one.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        clock: Clock,
        on_change: OnChange | None = None,
        metrics: ReplicaMetrics | None = None,
    ) -> None:
        self.registry = Registry()
        self.version: RegistryVersion | None = None
        """What is in `registry`: its epoch and the position up to which the topic was read."""
        self.unreadable = 0
        """Records that this release could not read; they are left out, and logged."""
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._reason: str | None = f"{topics.REGISTRY} is not yet read"
        self._moved = asyncio.Event()
        self._consumer: AIOKafkaConsumer | None = None
        """Of the topic that `version` speaks of; absent while it is read again."""
        self._end: asyncio.Task[int] | None = None
        self._end_asked_at = 0.0
        self._checked_at = clock.monotonic()
        self._metrics = metrics
        if metrics is not None:
            metrics.devices.set_function(lambda: len(self.registry.devices))
            metrics.checked_age_seconds.set_function(lambda: self._clock.monotonic() - self._checked_at)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KafkaSettings,
        clock: Clock,
        on_change: OnChange | None = None,
        metrics: ReplicaMetrics | None = None,
    ) -> AsyncIterator[Self]:
        """Returns at once; ask `ready` or await `wait_ready()`. `metrics` is where it shows how near it is."""
        replica = cls(settings, clock, on_change, metrics)
        reading = asyncio.create_task(replica._read())
        try:
            yield replica
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    @property
    def ready(self) -> bool:
        """The end seen at start was passed, once."""
        return self.version is not None

    def not_ready_reason(self) -> str | None:
        """A check for the admin server."""
        return None if self.ready else self._reason

    async def wait_ready(self) -> None:
        while not self.ready:
            await self._moved.wait()

    async def catch_up(self, timeout_seconds: float = 1.0) -> bool:
        """True when the registry holds all that the topic held a second ago or later; False when that is not sure.

        On a miss: after True what is not in the registry does not exist.
        """
        try:
            async with asyncio.timeout(timeout_seconds):
                consumer = self._consumer
                if consumer is None or self.version is None:
                    return False
                end = RegistryVersion(self.version.epoch, await self._ask_end(consumer))
                return await self._reach(end)
        except (TimeoutError, KafkaError):
            return False

    async def wait_for(self, version: RegistryVersion, timeout_seconds: float) -> bool:
        """Whether that position is reached within the time; False at once for another epoch."""
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._reach(version)
        except TimeoutError:
            return False

    async def _reach(self, version: RegistryVersion) -> bool:
        while self.version is not None and self.version.epoch == version.epoch:
            if self.version.position >= version.position:
                return True
            await self._moved.wait()
        return False

    async def _ask_end(self, consumer: AIOKafkaConsumer) -> int:
        """Many misses at once ask Kafka once a second."""
        now = self._clock.monotonic()
        if self._end is None or now - self._end_asked_at >= END_KEPT_SECONDS:
            self._end, self._end_asked_at = asyncio.create_task(_end_offset(consumer)), now
            self._end.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        return await asyncio.shield(self._end)

    async def _read(self) -> None:
        """Each turn reads the topic from its beginning and follows it until something is wrong with that."""
        while True:
            try:
                await self._read_from_beginning()
            except (Exception, asyncio.CancelledError) as error:  # nothing may end the following; what it was is logged
                if is_asked_to_end(error):
                    raise
                self._reason = f"{topics.REGISTRY} cannot be read: {error!r}"
                log.warning("registry.reading_failed", error=repr(error))
            self._consumer = self._end = None
            await asyncio.sleep(RETRY_SECONDS)

    async def _read_from_beginning(self) -> None:
        async with _open_at_beginning(self._settings) as consumer:
            head, end = await _first_record(consumer), await _end_offset(consumer)
            staged = Registry()
            position = await self._stage(staged, end, self._poll(consumer, head))
            self._become(staged, position, consumer)
            await self._follow(self._poll(consumer, head or await _first_record(consumer)))

    async def _stage(self, staged: Registry, end: int, polls: Polls) -> int:
        """Gives the position at which `staged` has all up to the end and knows its epoch."""
        async with aclosing(polls):
            async for position, records in polls:
                for record in records:
                    self._take_in(staged, record)
                if position >= end and staged.epoch is not None:
                    return position
                if position >= end:
                    self._reason = f"{topics.REGISTRY} holds no meta document yet"
        raise AssertionError("polling never ends by itself")

    async def _follow(self, polls: Polls) -> None:
        epoch = self.registry.epoch
        async with aclosing(polls):
            async for position, records in polls:
                for record in records:
                    self._take_in(self.registry, record, self._on_change)
                    self._note_delay(record)
                if self.registry.epoch != epoch or epoch is None:
                    raise _TopicRecreatedError("the registry's epoch has changed")
                self._move(RegistryVersion(epoch, position))

    async def _poll(self, consumer: AIOKafkaConsumer, head: Head) -> Polls:
        """Position and records, for ever; both together, since nothing else runs between them."""
        check_at = self._clock.monotonic() + HEAD_CHECK_SECONDS
        while True:
            records = await consumer.getmany(_PARTITION, timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            yield await consumer.position(_PARTITION), records.get(_PARTITION, [])
            await asyncio.sleep(0)
            if self._clock.monotonic() >= check_at:
                await self._check(consumer, head)
                check_at = self._clock.monotonic() + HEAD_CHECK_SECONDS

    async def _check(self, consumer: AIOKafkaConsumer, head: Head) -> None:
        """Whether it is still the same topic, and how far its end is; compaction can move the head too, and reading
        once more than needed does no harm.
        """
        try:
            now, end = await _first_record(consumer), await _end_offset(consumer)
        except KafkaError:
            return  # Kafka is away: later
        if head is not None and now != head:
            raise _TopicRecreatedError(f"the first record was {head} and is {now}")
        self._checked_at = self._clock.monotonic()
        if self._metrics is not None:
            self._metrics.behind_records.set(max(0, end - await consumer.position(_PARTITION)))

    def _take_in(self, registry: Registry, record: ConsumerRecord, on_change: OnChange | None = None) -> None:
        """A record that cannot be read hurts only itself: the document before it stays."""
        try:
            key = (record.key or b"").decode()
            document = registry.apply(key, record.value)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            self.unreadable += 1
            if self._metrics is not None:
                self._metrics.unreadable.inc()
            log.error("registry.unreadable", offset=record.offset, key=repr(record.key), error=str(error))  # noqa: TRY400  one line, the trace says nothing
            return
        if on_change is not None:
            on_change(key, document)

    def _note_delay(self, record: ConsumerRecord) -> None:
        """Of what revokes; a record's timestamp is the change's own, by auth's database."""
        if self._metrics is not None and (record.key or b"").startswith(_REVOKING):
            seconds = (self._clock.now_ms() - record.timestamp) / 1_000
            self._metrics.revocation_delay_seconds.observe(max(0.0, seconds))

    def _become(self, staged: Registry, position: int, consumer: AIOKafkaConsumer) -> None:
        changes = list(_changes(self.registry, staged)) if self._on_change else []
        epoch = staged.epoch or ""
        self.registry.become(staged)
        self._consumer = consumer
        self._move(RegistryVersion(epoch, position))
        log.info("registry.read", epoch=epoch, position=position, devices=len(self.registry.devices))
        for key, document in changes:
            if self._on_change is not None:
                self._on_change(key, document)

    def _move(self, version: RegistryVersion) -> None:
        if version != self.version:
            self.version = version
            self._moved.set()
            self._moved = asyncio.Event()


def _changes(before: Registry, after: Registry) -> list[tuple[str, RegistryDocument | None]]:
    removed = [key for key in map(document_key, before.documents()) if after.get(key) is None]
    put = [(document_key(document), document) for document in after.documents()]
    return [(key, None) for key in removed] + [(key, document) for key, document in put if before.get(key) != document]


@asynccontextmanager
async def _open_at_beginning(settings: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    """At the topic's beginning; an offset that is gone raises rather than jumping somewhere."""
    options = {"auto_offset_reset": "none", "max_partition_fetch_bytes": MAX_BATCH_BYTES}
    async with open_consumer(settings, **options) as consumer:
        consumer.assign([_PARTITION])
        beginnings = await consumer.beginning_offsets([_PARTITION])
        consumer.seek(_PARTITION, beginnings[_PARTITION])
        yield consumer


async def _end_offset(consumer: AIOKafkaConsumer) -> int:
    """Behind the last committed record (its transaction's end included)."""
    ends = await consumer.end_offsets([_PARTITION])
    return int(ends[_PARTITION])


async def _first_record(consumer: AIOKafkaConsumer) -> Head:
    """Offset and timestamp of the oldest record: the only sign of a topic's identity that the client can ask for."""
    found = (await consumer.offsets_for_times({_PARTITION: 0}))[_PARTITION]
    return None if found is None else (found.offset, found.timestamp)
