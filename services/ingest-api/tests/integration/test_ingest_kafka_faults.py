"""Kafka gone in each of the known ways: every request gets its 503 within 3 s, and a 201 soon after Kafka's return."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from ingest_api_support import IngestApiUnderTest, known_world, make_token, publish, running_ingest_api

from metering_common.contract import topics
from metering_common.kafka import clients as kafka_clients
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_ingest_api.application import CATCH_UP_SECONDS
from metering_local import kafka as local_kafka
from metering_local.kafka import KafkaServer
from metering_local.testing import kafka_settings, until_led

ANSWER_SECONDS = 3.0
AT_ONCE_SECONDS = 0.5
RETURN_SECONDS = 5.0
GRACE_SECONDS = 0.5
"""The client's own time: these tests share two cores with a broker that starts and stops."""
BODY = [{"deviceNumber": "29", "measures": [{"timestamp": 1_566_226_133, "sensorValues": []}]}]


@pytest.fixture(scope="module")
def faulty_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A broker of this module's own, healthy again after each test."""
    with local_kafka.start(tmp_path_factory.mktemp("faulty-kafka")) as server:
        yield server


class Timed(NamedTuple):
    status: int
    code: str
    retry_after: str | None
    seconds: float


@asynccontextmanager
async def ingest_api_before(server: KafkaServer, **changes: int) -> AsyncIterator[IngestApiUnderTest]:
    settings = kafka_settings(server)
    await topics.apply(settings)
    await publish(settings, *known_world())
    async with running_ingest_api(settings, **changes) as ingest_api:
        while (await timed(ingest_api)).status != 201:  # the first request makes the producer learn the topic
            pass
        yield ingest_api


async def timed(ingest_api: IngestApiUnderTest, body: object = BODY) -> Timed:
    loop = asyncio.get_running_loop()
    started = loop.time()
    answer = await ingest_api.post(body)
    code = "" if answer.status == 201 else answer.code
    return Timed(answer.status, code, answer.headers.get("Retry-After"), loop.time() - started)


async def ask_for(ingest_api: IngestApiUnderTest, seconds: float, at_once: int = 5) -> list[Timed]:
    """A few gateways' worth of requests, one after the other each."""
    until = asyncio.get_running_loop().time() + seconds
    answers: list[Timed] = []

    async def one() -> None:
        while asyncio.get_running_loop().time() < until:
            answers.append(await timed(ingest_api))
            await asyncio.sleep(0.02)

    await asyncio.gather(*[one() for _ in range(at_once)])
    return answers


def check_refusals(answers: list[Timed]) -> None:
    """All 503 with a time to come back, all within 3 s, most at once since the breaker is open."""
    assert {answer.status for answer in answers} == {503}, Counter(answer.code for answer in answers)
    assert all(answer.retry_after is not None and int(answer.retry_after) > 0 for answer in answers)
    assert max(answer.seconds for answer in answers) < ANSWER_SECONDS + GRACE_SECONDS
    quick = sum(answer.seconds < AT_ONCE_SECONDS for answer in answers)
    assert quick > 0.8 * len(answers), Counter(answer.code for answer in answers)


async def until_taken(ingest_api: IngestApiUnderTest) -> float:
    """Seconds until a request succeeds again."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    while (answer := await timed(ingest_api)).status != 201:
        assert answer.status == 503
        await asyncio.sleep(0.05)
    return loop.time() - started


async def test_kafka_paused(faulty_kafka: KafkaServer) -> None:
    async with ingest_api_before(faulty_kafka) as ingest_api:
        faulty_kafka.pause()
        check_refusals(await ask_for(ingest_api, 7))
        faulty_kafka.resume()
        assert await until_taken(ingest_api) < RETURN_SECONDS


async def test_kafka_killed_and_restarted(faulty_kafka: KafkaServer) -> None:
    async with ingest_api_before(faulty_kafka) as ingest_api:
        faulty_kafka.kill()
        check_refusals(await ask_for(ingest_api, 7))
        faulty_kafka.restart()  # in this thread: a server ends with the thread that started it
        await until_led(ingest_api.kafka)  # a broker that listens is not back yet; on a busy machine it takes its time
        assert await until_taken(ingest_api) < RETURN_SECONDS


async def test_kafka_restarted_under_load_with_no_leader_at_first(own_kafka: KafkaServer) -> None:
    """Between the broker's port and its partitions' leaders there is a while in which requests get their 503 too."""
    async with ingest_api_before(own_kafka) as ingest_api:
        restarting = asyncio.create_task(asyncio.to_thread(own_kafka.restart))
        answers = []
        while not restarting.done():
            answers += await ask_for(ingest_api, 0.2)
        assert {answer.status for answer in answers} <= {201, 503}
        assert max(answer.seconds for answer in answers) < ANSWER_SECONDS + GRACE_SECONDS
        await until_led(ingest_api.kafka)
        assert await until_taken(ingest_api) < RETURN_SECONDS


async def set_raw_limit(kafka: KafkaSettings, size: int) -> None:
    """The topic made smaller than its contract, behind ingest-api's back."""
    client = kafka_clients.admin_client(kafka)
    await client.start()
    try:
        configs = {"max.message.bytes": str(size)}
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topics.RAW, configs=configs)])
    finally:
        await client.close()


async def test_a_message_too_large_for_the_broker(faulty_kafka: KafkaServer) -> None:
    text = "".join(chr(0x4E00 + number * 7919 % 20_000) for number in range(60_000))  # does not compress to nothing
    large = [{"deviceNumber": "29", "measures": [{"timestamp": 1_566_226_133, "sensorValues": [text]}]}]
    async with ingest_api_before(faulty_kafka) as ingest_api:
        assert len(json.dumps(large, ensure_ascii=False).encode()) < 1_048_576
        await set_raw_limit(ingest_api.kafka, 20_000)
        await asyncio.sleep(0.5)
        answer = await timed(ingest_api, large)
        assert (answer.status, answer.code) == (503, "record_too_large")
        assert answer.seconds < ANSWER_SECONDS + GRACE_SECONDS
        assert await until_taken(ingest_api) < RETURN_SECONDS
        await set_raw_limit(ingest_api.kafka, 4_194_304)
        await asyncio.sleep(0.5)
        assert (await timed(ingest_api, large)).status == 201


async def test_memory_is_bounded_while_kafka_is_away(faulty_kafka: KafkaServer) -> None:
    """Bodies in flight are counted, and beyond the bound a request is refused with that reason."""
    large = [{"deviceNumber": "29", "measures": [{"timestamp": 1_566_226_133, "sensorValues": ["x" * 900_000]}]}]
    async with ingest_api_before(faulty_kafka, max_in_flight_bytes=4_000_000) as ingest_api:
        faulty_kafka.pause()
        answers = await asyncio.gather(*[timed(ingest_api, large) for _ in range(20)])
        faulty_kafka.resume()
        codes = Counter((answer.status, answer.code) for answer in answers)
        assert codes.pop((429, "share_in_flight")) >= 10
        assert {status for status, _ in codes} == {503}
        assert await ingest_api.metric("metering_ingest_in_flight_bytes") == 0
        assert await ingest_api.metric("metering_ingest_in_flight_requests") == 0


async def seconds_of_refusal(ingest_api: IngestApiUnderTest, path: str) -> float:
    started = SystemClock().monotonic()
    assert (await ingest_api.ask("GET", path)).code == "registry_stale"
    return SystemClock().monotonic() - started


async def test_a_stale_registry_waits_and_then_says_503_never_4xx(faulty_kafka: KafkaServer) -> None:
    async with ingest_api_before(faulty_kafka) as ingest_api:
        known = await ingest_api.ask("GET", "/devices/29")
        faulty_kafka.pause()
        started = SystemClock().monotonic()
        answers = [
            await ingest_api.ask("GET", "/devices/77"),
            await ingest_api.ask("GET", "/devices/40"),
            await ingest_api.ask("GET", "/devices/number/none"),
            await ingest_api.ask("GET", "/server-time", token=make_token(kid="unheard of")),
            await ingest_api.post([{"deviceNumber": "none", "measures": [{"timestamp": 1, "sensorValues": []}]}]),
        ]
        seconds = SystemClock().monotonic() - started
        assert {(answer.status, answer.code) for answer in answers} == {(503, "registry_stale")}
        assert all(answer.json()["reason"] == "registry_stale" for answer in answers)
        assert seconds < 5 * 1.5
        another, none = (
            await seconds_of_refusal(ingest_api, "/devices/40"),
            await seconds_of_refusal(ingest_api, "/devices/77"),
        )
        assert min(another, none) > CATCH_UP_SECONDS / 2, "another provider's device takes the way and the time of none"
        assert (await ingest_api.ask("GET", "/devices/29")).body == known.body
        faulty_kafka.resume()
