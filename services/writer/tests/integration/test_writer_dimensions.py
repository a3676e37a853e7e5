"""The dimension tables follow the registry, kept by one writer at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from metering_common.contract.topics import REGISTRY
from metering_common.kafka import clients as kafka_client
from metering_common.postgres.pool import TimedPool
from metering_common.registry.documents import (
    Device,
    Gateway,
    Meta,
    MeterExchange,
    Provider,
    RegistryDocument,
    Sensor,
    SensorKind,
    document_key,
    encode_document,
)
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_writer.adapters.dimensions import DimensionKeeper
from metering_writer.metrics import WriterMetrics
from metering_writer.testing import until

METER = Device(
    id=29,
    provider=1,
    number="29",
    sensors=(7,),
    zone="Europe/Madrid",
    maximum_rates={7: 12.5},
    exchanges=(
        MeterExchange(sensor=7, at=1_600_000_000),
        MeterExchange(sensor=7, at=1_700_000_000, closing=801.0, opening=12345.0),
    ),
)
HOUSE = (
    Meta(epoch="6f1c2c7e-6a0f-4b7e-9a52-0d5f1f3a9b11", created_at=1),
    Provider(id=1, name="Sur"),
    Gateway(id=2, provider=1, name="Casa"),
    Sensor(id=7, position=1, name="Energía", unit="kWh", kind=SensorKind.ACCUMULATING, capacity=1e6),
    METER,
    Device(id=30, provider=1, number="30", sensors=(7,), zone="Mars/Olympus"),
)
Publish = Callable[..., object]


class RegistryTopic:
    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def put(self, *documents: RegistryDocument) -> None:
        await self._send([(document_key(one), encode_document(one)) for one in documents])

    async def remove(self, key: str) -> None:
        await self._send([(key, b"")])

    async def _send(self, records: list[tuple[str, bytes]]) -> None:
        producer = kafka_client.producer(self._kafka)
        await producer.start()
        for key, value in records:
            await producer.send_and_wait(REGISTRY, value or None, key=key.encode())
        await producer.stop()


@pytest.fixture
async def topic(kafka: KafkaSettings) -> RegistryTopic:
    registry = RegistryTopic(kafka)
    await registry.put(*HOUSE)
    return registry


class Keeping:
    """One keeper in a task."""

    def __init__(self, pool: TimedPool, kafka: KafkaSettings, kind: type[DimensionKeeper] = DimensionKeeper) -> None:
        self.collectors = CollectorRegistry()
        self.keeper = kind(
            pool, kafka, SystemClock(), WriterMetrics(self.collectors), holder=uuid4(), lease_seconds=1.5
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.keeper.run())
        yield
        task.cancel()
        await asyncio.wait({task})

    def keeps(self) -> bool:
        return self.collectors.get_sample_value("metering_writer_dimensions_kept") == 1


async def kept(keeping: Keeping) -> None:
    async def is_kept() -> bool:
        return keeping.keeps()

    await until(is_kept)


async def test_the_tables_are_as_the_registry_is(pool: TimedPool, kafka: KafkaSettings, topic: RegistryTopic) -> None:
    await pool.execute("INSERT INTO device VALUES (5, 1, 'gone', 'UTC', NULL, '{}', true)")
    keeping = Keeping(pool, kafka)
    async with keeping.running():
        await kept(keeping)
        device = await pool.fetchrow("SELECT * FROM device WHERE id = 29")
        assert device is not None
        assert (device["number"], device["zone"], device["sensors"], device["deleted_at"]) == (
            "29",
            "Europe/Madrid",
            [7],
            None,
        )
        assert await pool.fetchval("SELECT zone FROM device WHERE id = 30") == "UTC"
        assert await pool.fetchval("SELECT deleted_at FROM device WHERE id = 5") is not None
        assert await pool.fetchval("SELECT name FROM gateway WHERE id = 2") == "Casa"
        assert await pool.fetchval("SELECT (kind, capacity) = ('accumulating', 1e6) FROM sensor WHERE id = 7")

        await topic.put(Provider(id=1, name="Norte"))
        await topic.remove("device:29")

        async def followed() -> bool:
            removed = await pool.fetchval("SELECT deleted_at IS NOT NULL FROM device WHERE id = 29")
            return bool(removed) and await pool.fetchval("SELECT name FROM provider") == "Norte"

        await until(followed)


async def exchanges(pool: TimedPool) -> list[tuple[object, ...]]:
    query = "SELECT device_id, sensor_id, extract(epoch FROM at)::int, closing, opening FROM meter_exchange ORDER BY at"
    return [tuple(row) for row in await pool.fetch(query)]


async def test_exchanges_and_rates_follow_and_a_change_leaves_a_note(
    pool: TimedPool, kafka: KafkaSettings, topic: RegistryTopic
) -> None:
    """What is as it was leaves none: else every start of a writer would have every register looked at."""
    keeping = Keeping(pool, kafka)
    async with keeping.running():
        await kept(keeping)
        assert await exchanges(pool) == [
            (29, 7, 1_600_000_000, None, None), (29, 7, 1_700_000_000, 801.0, 12345.0)
        ]  # fmt: skip
        assert [tuple(row) for row in await pool.fetch("SELECT * FROM device_maximum_rate")] == [(29, 7, 12.5)]
        await pool.execute("DELETE FROM register_note")
        await topic.put(replace(METER, number="twenty-nine"))

        async def is_renamed() -> bool:
            return bool(await pool.fetchval("SELECT number = 'twenty-nine' FROM device WHERE id = 29"))

        await until(is_renamed)
        assert await pool.fetchval("SELECT count(*) FROM register_note WHERE sensors = '{7}'") == 0
        await topic.put(replace(METER, maximum_rates=None, exchanges=METER.exchanges[:1]))

        async def is_gone() -> bool:
            return not await pool.fetchval("SELECT count(*) FROM device_maximum_rate")

        await until(is_gone)
        assert await exchanges(pool) == [(29, 7, 1_600_000_000, None, None)]
        assert await pool.fetchval("SELECT count(*) FROM register_note WHERE device_id = 29 AND sensors = '{7}'") == 2


async def test_a_removed_device_costs_no_other_a_look(
    pool: TimedPool, kafka: KafkaSettings, topic: RegistryTopic
) -> None:
    """An upsert locks its row, which `xmax` keeps: of the device that stays nothing was looked at."""
    keeping = Keeping(pool, kafka)
    async with keeping.running():
        await kept(keeping)
        before = await pool.fetchval("SELECT (xmin, xmax)::text FROM device WHERE id = 30")
        await topic.remove("device:29")
        await topic.remove("gateway:2")

        async def removed() -> bool:
            return bool(
                await pool.fetchval(
                    "SELECT device.deleted_at IS NOT NULL AND gateway.deleted_at IS NOT NULL"
                    " FROM device, gateway WHERE device.id = 29"
                )
            )

        await until(removed)
        assert await pool.fetchval("SELECT (xmin, xmax)::text FROM device WHERE id = 30") == before
        assert await pool.fetchval("SELECT deleted_at FROM device WHERE id = 30") is None


class CutShort(DimensionKeeper):
    """Its first turn ends as a client's own cancellation would end it."""

    turns = 0

    async def _take(self) -> bool:
        self.turns += 1
        if self.turns == 1:
            raise asyncio.CancelledError
        return await super()._take()


@pytest.mark.usefixtures("topic")
async def test_a_clients_own_cancellation_does_not_end_the_keeping(pool: TimedPool, kafka: KafkaSettings) -> None:
    keeping = Keeping(pool, kafka, CutShort)
    async with keeping.running():
        await kept(keeping)


@pytest.mark.usefixtures("topic")
async def test_one_writer_keeps_them_and_another_takes_over(pool: TimedPool, kafka: KafkaSettings) -> None:
    first, second = Keeping(pool, kafka), Keeping(pool, kafka)
    async with second.running():
        async with first.running():
            await until(lambda: _true(first.keeps() or second.keeps()))
            await asyncio.sleep(2)
            assert first.keeps() != second.keeps()
            if second.keeps():
                return
        await kept(second)


async def _true(value: object) -> object:
    return value


@pytest.mark.usefixtures("topic")
async def test_a_lease_that_is_given_back_is_free_at_once(pool: TimedPool, kafka: KafkaSettings) -> None:
    first, second = Keeping(pool, kafka), Keeping(pool, kafka)
    async with first.running():
        await kept(first)
    await first.keeper.give_back()
    assert await second.keeper._take()
    assert not await first.keeper._take()
