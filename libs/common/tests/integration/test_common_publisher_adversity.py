"""Kafka is paused, killed, restarted, emptied; the publisher answers in time, recovers by itself, stays small."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import TopicPartition

from metering_common.contract import topics
from metering_common.kafka import clients as kafka_clients
from metering_common.kafka.publisher import MISSES_TO_OPEN, STALE_SECONDS, Publisher, PublishUnavailableError, Record
from metering_common.service.clock import ManualClock, SystemClock
from metering_common.service.settings import KafkaSettings
from metering_local.kafka import KafkaServer, prepare
from metering_local.testing import kafka_settings

CLOCK = SystemClock()
DEADLINE_SECONDS = 0.5
RECOVERY_SECONDS = 5.0
RECORD = Record(topics.RAW, b"29", b"{}", [])


@asynccontextmanager
async def opened(server: KafkaServer) -> AsyncIterator[tuple[Publisher, KafkaSettings]]:
    settings = kafka_settings(server)
    async with Publisher.open(settings, CLOCK, deadline_seconds=DEADLINE_SECONDS) as publisher:
        await published(publisher)
        yield publisher, settings


async def published(publisher: Publisher) -> float:
    """Publishes as a client would that obeys no `Retry-After`; gives the seconds until it was acknowledged."""
    started = time.monotonic()
    while True:
        try:
            await publisher.publish([RECORD], 2.0)
        except PublishUnavailableError:
            await asyncio.sleep(0.05)
        else:
            return time.monotonic() - started


async def refused(publisher: Publisher) -> tuple[str, float]:
    """Why, and after how many seconds."""
    started = time.monotonic()
    with pytest.raises(PublishUnavailableError) as refusal:
        await publisher.publish([RECORD])
    assert refusal.value.retry_after_seconds > 0
    return refusal.value.reason, time.monotonic() - started


async def open_the_breaker(publisher: Publisher) -> None:
    """Each call ends in time; after some Kafka is not waited for any more."""
    for _ in range(MISSES_TO_OPEN):
        reason, seconds = await refused(publisher)
        assert reason == "deadline"
        assert DEADLINE_SECONDS <= seconds < DEADLINE_SECONDS + 0.5
    reason, seconds = await refused(publisher)
    assert reason == "breaker_open"
    assert seconds < 0.1
    assert publisher.unavailable() == "breaker_open"


async def count(settings: KafkaSettings) -> int:
    async with kafka_clients.consumer(settings) as consumer:
        partitions = [TopicPartition(topics.RAW, number) for number in range(12)]
        return int(sum((await consumer.end_offsets(partitions)).values()))


async def test_a_paused_kafka_is_told_in_time_and_its_return_is_noticed(hurt_kafka: KafkaServer) -> None:
    async with opened(hurt_kafka) as (publisher, settings):
        before = await count(settings)
        hurt_kafka.pause()
        await open_the_breaker(publisher)
        await asyncio.sleep(1)
        hurt_kafka.resume()
        assert await published(publisher) < RECOVERY_SECONDS
        assert await count(settings) > before


async def test_readiness_comes_back_without_anyone_publishing(hurt_kafka: KafkaServer) -> None:
    """A load balancer sends nothing to a pod that is not ready: recovery must not wait for a call."""
    async with opened(hurt_kafka) as (publisher, _):
        hurt_kafka.pause()
        await open_the_breaker(publisher)
        hurt_kafka.resume()
        async with asyncio.timeout(RECOVERY_SECONDS):
            while publisher.unavailable() is not None:  # noqa: ASYNC110  as the admin server does, from outside
                await asyncio.sleep(0.05)


async def test_a_kafka_that_comes_back_empty_is_published_to_again(hurt_kafka: KafkaServer) -> None:
    """With its files gone the broker gives the same producer ids again: an old one must not be gone on with."""
    async with opened(hurt_kafka) as (publisher, settings):
        await published(publisher)
        hurt_kafka.kill()
        await open_the_breaker(publisher)
        empty(hurt_kafka)
        hurt_kafka.restart()
        await topics.apply(settings)
        before = await count(settings)
        assert await published(publisher) < RECOVERY_SECONDS
        assert await count(settings) > before


def empty(server: KafkaServer) -> None:
    files = server._files
    shutil.rmtree(files.directory / "data")
    prepare(files.directory, files.port, files.controller_port)


async def test_it_opens_and_closes_where_there_is_no_kafka() -> None:
    nowhere = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    started = time.monotonic()
    async with Publisher.open(nowhere, CLOCK) as publisher:
        assert publisher.unavailable() == "breaker_open"
        assert (await refused(publisher))[0] == "breaker_open"
    assert time.monotonic() - started < 5


async def test_opened_while_kafka_is_paused_it_notices_its_return(hurt_kafka: KafkaServer) -> None:
    hurt_kafka.pause()
    async with Publisher.open(kafka_settings(hurt_kafka), CLOCK) as publisher:
        assert publisher.unavailable() == "breaker_open"
        hurt_kafka.resume()
        assert await published(publisher) < RECOVERY_SECONDS


async def test_it_closes_in_time_with_records_in_flight_that_nobody_acknowledges(hurt_kafka: KafkaServer) -> None:
    async with opened(hurt_kafka) as (publisher, _):
        hurt_kafka.pause()
        assert (await refused(publisher))[0] == "deadline"
        assert publisher.in_flight_bytes > 0
        started = time.monotonic()
    assert time.monotonic() - started < DEADLINE_SECONDS + 3
    assert publisher.in_flight_bytes == 0


async def test_a_record_that_waits_too_long_has_its_producer_replaced(hurt_kafka: KafkaServer) -> None:
    """One partition may be stuck while others answer, so that no row of missed deadlines opens the breaker."""
    clock = ManualClock(0)
    async with Publisher.open(kafka_settings(hurt_kafka), clock, deadline_seconds=DEADLINE_SECONDS) as publisher:
        await published(publisher)
        hurt_kafka.pause()
        assert (await refused(publisher))[0] == "deadline"
        assert publisher.unavailable() is None
        clock.advance(STALE_SECONDS + 1)
        async with asyncio.timeout(2):
            while publisher.unavailable() != "failed":  # noqa: ASYNC110  as the admin server does, from outside
                await asyncio.sleep(0.02)
        hurt_kafka.resume()
        assert await published(publisher) < RECOVERY_SECONDS


async def test_memory_stays_bounded_while_kafka_is_away_and_free_after_its_return(hurt_kafka: KafkaServer) -> None:
    settings = kafka_settings(hurt_kafka)
    bound = 1_000_000
    async with Publisher.open(settings, CLOCK, deadline_seconds=1, max_in_flight_bytes=bound) as publisher:
        await published(publisher)
        hurt_kafka.pause()
        large = RECORD._replace(value=b"x" * 50_000)
        calls = [publisher.publish([large._replace(key=b"%d" % number)]) for number in range(100)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        reasons = {result.reason for result in results if isinstance(result, PublishUnavailableError)}
        assert reasons == {"deadline", "in_flight"}
        assert 0 < publisher.in_flight_bytes <= bound
        hurt_kafka.resume()
        assert await published(publisher) < RECOVERY_SECONDS
        async with asyncio.timeout(RECOVERY_SECONDS):
            while publisher.in_flight_bytes:  # noqa: ASYNC110  looks from outside, there is nothing to be told by
                await asyncio.sleep(0.05)


async def test_every_acknowledged_record_survives_a_kill_of_kafka(hurt_kafka: KafkaServer) -> None:
    """What was acknowledged is there; what was not may be there: counted over a kill in mid-traffic."""
    async with opened(hurt_kafka) as (publisher, settings):
        before = await count(settings)
        stop = asyncio.Event()

        async def publish_on() -> int:
            acknowledged = 0
            while not stop.is_set():
                await published(publisher)
                acknowledged += 1
            return acknowledged

        callers = [asyncio.create_task(publish_on()) for _ in range(20)]
        await asyncio.sleep(0.7)
        hurt_kafka.kill()
        await asyncio.sleep(0.3)
        hurt_kafka.restart()  # not in a thread of its own: the broker would end with it
        assert await published(publisher) < RECOVERY_SECONDS
        stop.set()
        acknowledged = 1 + sum(await asyncio.gather(*callers))
        assert acknowledged > 100
        assert await count(settings) >= before + acknowledged
