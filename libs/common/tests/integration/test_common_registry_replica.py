"""The replica against a broker: ready when caught up, following, right again after whatever happens to the topic."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry

from metering_common.contract import topics
from metering_common.contract.metadata import RegistryVersion
from metering_common.kafka import clients as kafka_clients
from metering_common.registry.documents import (
    Device,
    Meta,
    Provider,
    RegistryDocument,
    Sensor,
    SensorKind,
    document_key,
    encode_document,
)
from metering_common.registry.replica import RegistryReplica
from metering_common.service.clock import ManualClock, SystemClock
from metering_common.service.metrics import ReplicaMetrics
from metering_common.service.settings import KafkaSettings
from metering_local.kafka import KafkaServer
from metering_local.testing import delete_topics, kafka_settings

CLOCK = SystemClock()
META = Meta(epoch="first", created_at=0)
PROVIDER = Provider(id=1, name="a")
SENSOR = Sensor(id=7, position=0, name="s", unit="kWh", kind=SensorKind.ACCUMULATING)


def device(device_id: int, number: str = "n") -> Device:
    return Device(id=device_id, provider=1, number=number, sensors=(7,))


@asynccontextmanager
async def relay(settings: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """As auth's: every step is a transaction."""
    producer = kafka_clients.producer(settings, transactional_id="test-relay")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def put(producer: AIOKafkaProducer, *documents: RegistryDocument) -> None:
    async with producer.transaction():
        for document in documents:
            await producer.send(topics.REGISTRY, encode_document(document), document_key(document).encode())


async def remove(producer: AIOKafkaProducer, *keys: str) -> None:
    async with producer.transaction():
        for key in keys:
            await producer.send(topics.REGISTRY, None, key.encode())


async def ready(replica: RegistryReplica) -> None:
    async with asyncio.timeout(10):
        await replica.wait_ready()


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  looks from outside, there is nothing to be told by
            await asyncio.sleep(0.02)


async def test_what_stands_in_the_topic_is_in_the_registry_when_it_is_ready(kafka: KafkaSettings) -> None:
    async with relay(kafka) as producer:
        await put(producer, META, PROVIDER, SENSOR, *[device(number, f"n{number}") for number in range(5_000)])
        await put(producer, device(3, "renamed"))
        await remove(producer, "device:4")
    async with RegistryReplica.open(kafka, CLOCK) as replica:
        assert not replica.ready
        await ready(replica)
        assert replica.not_ready_reason() is None
        assert len(replica.registry.devices) == 4_999
        assert replica.registry.device_by_number(1, "renamed") == device(3, "renamed")
        assert replica.registry.device_by_number(1, "n3") is None


async def test_the_version_is_the_position_behind_the_transactions_end(kafka: KafkaSettings) -> None:
    """Twelve records in two transactions: the position is 14, the last record seen 12 (two markers)."""
    async with relay(kafka) as producer:
        await put(producer, META, *[device(number) for number in range(5)])
        await put(producer, *[device(number) for number in range(6)])
        async with RegistryReplica.open(kafka, CLOCK) as replica:
            await ready(replica)
            assert replica.version == RegistryVersion("first", 14)
            assert await replica.catch_up()


async def test_it_follows_and_honours_tombstones(kafka: KafkaSettings) -> None:
    seen: list[tuple[str, RegistryDocument | None]] = []
    async with relay(kafka) as producer:
        await put(producer, META)
        async with RegistryReplica.open(kafka, CLOCK, lambda key, document: seen.append((key, document))) as replica:
            await ready(replica)
            await put(producer, device(29))
            assert await caught_up(replica)
            assert replica.registry.devices == {29: device(29)}
            await remove(producer, "device:29")
            await eventually(lambda: not replica.registry.devices)
    assert seen == [("meta", META), ("device:29", device(29)), ("device:29", None)]


async def caught_up(replica: RegistryReplica) -> bool:
    """`catch_up` with an end asked for after now: an answer is kept for a second."""
    await asyncio.sleep(1.05)
    return await replica.catch_up()


async def test_what_was_rolled_back_is_never_seen(kafka: KafkaSettings) -> None:
    async with relay(kafka) as producer:
        await put(producer, META)
        async with RegistryReplica.open(kafka, CLOCK) as replica:
            await ready(replica)
            await producer.begin_transaction()
            await producer.send_and_wait(topics.REGISTRY, encode_document(device(1)), b"device:1")
            await producer.abort_transaction()
            await put(producer, device(2))
            assert await caught_up(replica)
            assert list(replica.registry.devices) == [2]


async def test_it_is_not_ready_before_the_topic_says_its_epoch(kafka: KafkaSettings) -> None:
    """An empty topic may be one that auth has not yet filled: answering 404 from it would be untrue."""
    async with RegistryReplica.open(kafka, CLOCK) as replica, relay(kafka) as producer:
        await eventually(lambda: "meta" in (replica.not_ready_reason() or ""))
        assert replica.version is None
        assert not await replica.catch_up()
        await put(producer, PROVIDER, META)
        await ready(replica)
        assert replica.registry.providers == {1: PROVIDER}


async def test_waiting_for_a_version_ends_when_it_is_reached_and_not_before(kafka: KafkaSettings) -> None:
    async with relay(kafka) as producer:
        await put(producer, META)
        async with RegistryReplica.open(kafka, CLOCK) as replica:
            await ready(replica)
            assert await replica.wait_for(RegistryVersion("first", 2), 0.1)
            assert not await replica.wait_for(RegistryVersion("first", 4), 0.2)
            assert not await replica.wait_for(RegistryVersion("another", 0), 5)
            waiting = asyncio.create_task(replica.wait_for(RegistryVersion("first", 4), 5))
            await put(producer, device(1))
            assert await waiting
            assert list(replica.registry.devices) == [1]


async def test_a_record_that_cannot_be_read_hurts_only_itself(kafka: KafkaSettings) -> None:
    async with relay(kafka) as producer:
        async with producer.transaction():
            for key, value in ((b"device:1", b"{"), (b"\xff", b"{}"), (b"thing:1", b'{"type":"thing"}')):
                await producer.send(topics.REGISTRY, value, key)
        await put(producer, META, device(2))
        async with RegistryReplica.open(kafka, CLOCK) as replica:
            await ready(replica)
            assert list(replica.registry.devices) == [2]
            assert replica.unreadable == 3


async def test_it_shows_how_near_it_is_and_how_long_ago_it_was_sure_of_that(kafka: KafkaSettings) -> None:
    registry, clock = CollectorRegistry(), ManualClock(0)

    def shown(name: str) -> float | None:
        return registry.get_sample_value(f"metering_registry_replica_{name}")

    async with relay(kafka) as producer:
        await put(producer, META, PROVIDER, SENSOR, device(1), device(2))
        async with RegistryReplica.open(kafka, clock, metrics=ReplicaMetrics(registry)) as replica:
            await ready(replica)
            clock.advance(60)
            assert shown("checked_age_seconds") == 60
            await eventually(lambda: shown("checked_age_seconds") == 0)
            await eventually(lambda: shown("behind_records") == 0)
            assert (shown("devices"), shown("unreadable_records_total")) == (2, 0)
            async with producer.transaction():
                await producer.send(topics.REGISTRY, b"{", b"device:3")
            await eventually(lambda: shown("unreadable_records_total") == 1)


async def test_a_topic_recreated_is_read_again_and_the_old_registry_serves_until_then(kafka: KafkaSettings) -> None:
    """The new topic is soon longer than the old one was: its offsets tell nothing."""
    changes: list[str] = []
    async with RegistryReplica.open(kafka, CLOCK, lambda key, _: changes.append(key)) as replica:
        async with relay(kafka) as producer:
            await put(producer, META, SENSOR, device(1, "old"), device(2, "kept"))
            await ready(replica)
        changes.clear()
        registry, before = replica.registry, replica.version
        await delete_topics(kafka)
        await topics.apply(kafka)
        async with relay(kafka) as producer:
            documents = [device(number, f"n{number}") for number in range(10, 40)]
            await put(producer, *documents, SENSOR, device(2, "kept"), Meta(epoch="second", created_at=1))
            assert replica.version == before
            assert registry.device_by_number(1, "old") is not None
            await eventually(lambda: registry.epoch == "second", 20)
        assert replica.registry is registry
        assert registry.device_by_number(1, "old") is None
        assert len(registry.devices) == 31
        assert replica.version == RegistryVersion("second", 34)
        assert "device:1" in changes
        assert {"device:2", "sensor:7"}.isdisjoint(changes), "what did not change is not told"


async def test_a_new_epoch_in_the_same_topic_is_read_from_the_beginning(kafka: KafkaSettings) -> None:
    async with relay(kafka) as producer, RegistryReplica.open(kafka, CLOCK) as replica:
        await put(producer, META, device(1))
        await ready(replica)
        await put(producer, Meta(epoch="second", created_at=1))
        await eventually(lambda: replica.version == RegistryVersion("second", 5))
        assert list(replica.registry.devices) == [1]


async def test_a_kafka_away_later_is_never_taken_for_being_up_to_date(hurt_kafka: KafkaServer) -> None:
    settings = kafka_settings(hurt_kafka)
    async with relay(settings) as producer, RegistryReplica.open(settings, CLOCK) as replica:
        await put(producer, META, device(1))
        await ready(replica)
        assert await caught_up(replica)
        hurt_kafka.pause()
        await asyncio.sleep(1.05)
        started = time.monotonic()
        assert not await replica.catch_up(0.5)
        assert time.monotonic() - started < 1
        assert replica.ready
        assert list(replica.registry.devices) == [1]
        hurt_kafka.resume()
        await put(producer, device(2))
        await eventually(lambda: 2 in replica.registry.devices)
        assert await caught_up(replica)


async def test_a_kafka_killed_is_waited_for_by_who_follows_and_by_who_starts(hurt_kafka: KafkaServer) -> None:
    settings = kafka_settings(hurt_kafka)
    async with RegistryReplica.open(settings, CLOCK) as following:
        async with relay(settings) as producer:
            await put(producer, META, device(1))
        await ready(following)
        hurt_kafka.kill()
        async with RegistryReplica.open(settings, CLOCK) as starting:
            await eventually(lambda: "cannot be read" in (starting.not_ready_reason() or ""))
            assert not await starting.catch_up(0.2)
            hurt_kafka.restart()
            await ready(starting)
            assert list(starting.registry.devices) == [1]
        async with relay(settings) as producer:
            await put(producer, device(2))
        await eventually(lambda: 2 in following.registry.devices)
        assert following.version is not None
        assert following.version.epoch == "first"


async def test_it_closes_in_time_while_kafka_is_away(hurt_kafka: KafkaServer) -> None:
    settings = kafka_settings(hurt_kafka)
    async with relay(settings) as producer:
        await put(producer, META)
    async with RegistryReplica.open(settings, CLOCK) as replica:
        await ready(replica)
        hurt_kafka.pause()
        await asyncio.sleep(0.2)
        started = time.monotonic()
    assert time.monotonic() - started < 3


class CutShort(RegistryReplica):
    """Its first reading ends as aiokafka ends it when the loop was blocked: with the client's own cancellation."""

    readings = 0

    async def _read_from_beginning(self) -> None:
        self.readings += 1
        if self.readings == 1:
            raise asyncio.CancelledError
        await super()._read_from_beginning()


async def test_a_clients_own_cancellation_does_not_end_the_reading(kafka: KafkaSettings) -> None:
    async with relay(kafka) as producer, CutShort.open(kafka, CLOCK) as replica:
        await put(producer, META, PROVIDER)
        await ready(replica)
        assert replica.readings == 2
