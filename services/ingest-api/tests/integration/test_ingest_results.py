"""What became of a batch, as its provider may ask: the outcomes here are produced as the validator produces them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaProducer
from ingest_api_support import IngestApiUnderTest, make_token

from metering_common.contract import codec, topics
from metering_common.contract.batch_id import new_batch_id
from metering_common.contract.messages import Counts, Finding, FindingKind, Outcome, Status
from metering_common.kafka import clients as kafka_clients
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_ingest_api.adapters.outcome_scan import partition_of

REFUSAL = Finding(
    device_number="29",
    timestamp=1_773_241_500,
    sensor_name="Nadie",
    kind=FindingKind.REFUSED,
    rule="RV-03",
    message="The sensor is not in the dictionary.",
)
NOT_TAKEN = Finding(
    device_number="29",
    timestamp=None,
    sensor_name="Corriente B",
    kind=FindingKind.NOT_TAKEN,
    rule="RV-04",
    message="The sensor is not on the device's list.",
)
BODY = [
    {"deviceNumber": number, "measures": [{"timestamp": 1_566_226_133, "sensorValues": []}]} for number in ("29", "31")
]


@pytest.fixture
async def validator(ingest_api: IngestApiUnderTest) -> AsyncIterator[AIOKafkaProducer]:
    async with kafka_clients.producer(ingest_api.kafka) as producer:
        yield producer


async def tell(validator: AIOKafkaProducer, batch: UUID, item: int, timestamp_ms: int | None = None) -> None:
    findings = [NOT_TAKEN, REFUSAL] if item == 0 else []
    outcome = Outcome(
        batch_id=batch,
        item=item,
        items=2,
        provider=1,
        device=29 + 2 * item,
        received_at_ms=1,
        status=Status.VALIDATED,
        counts=Counts(measures=1, values=3, accepted=2, refused=1),
        rules={"RV-03": 1},
        findings=findings,
    )
    await validator.send_and_wait(
        topics.OUTCOMES, codec.encode(outcome), str(batch).encode(), timestamp_ms=timestamp_ms
    )


async def waits(ingest_api: IngestApiUnderTest, end: str) -> float:
    return await ingest_api.metric("metering_ingest_waits_total", end=end)


async def until_outcomes_are_followed(ingest_api: IngestApiUnderTest) -> None:
    """The first that waits makes ingest-api follow the outcomes; on a busy machine it may not be waited for."""
    late = await waits(ingest_api, "late")
    while await waits(ingest_api, "late") == late:
        await ingest_api.post(BODY, headers={"Prefer": "wait=1"})


async def answer_to_wait(
    ingest_api: IngestApiUnderTest, validator: AIOKafkaProducer, items: tuple[int, ...], seconds: int
) -> Any:
    """Posts with `Prefer: wait` and lets the validator tell the items once the records are in."""
    before = await ingest_api.metric("metering_published_records_total")
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(ingest_api.post(BODY, headers={"Prefer": f"respond-async, wait={seconds}"}))
        while await ingest_api.metric("metering_published_records_total") < before + 2:
            pass
        batch = await the_batch(ingest_api.kafka)
        for item in items:
            await tell(validator, batch, item)
    return asking.result()


async def the_batch(kafka: KafkaSettings) -> UUID:
    """The newest id on the raw topic: UUIDv7 sort by time."""
    async with kafka_clients.consumer(kafka, topics.RAW) as consumer:
        partitions = consumer.assignment()
        ends = await consumer.end_offsets(partitions)
        records = []
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            records += [record for part in (await consumer.getmany(timeout_ms=50)).values() for record in part]
    return UUID(max(dict(record.headers)["batch-id"] for record in records).decode())


async def test_who_prefers_to_wait_gets_the_result_with_the_201(
    ingest_api: IngestApiUnderTest, validator: AIOKafkaProducer
) -> None:
    await until_outcomes_are_followed(ingest_api)
    told = await waits(ingest_api, "told")
    answer = await answer_to_wait(ingest_api, validator, (1, 0), seconds=10)
    assert answer.status == 201
    assert answer.headers["Preference-Applied"] == "wait=10"
    warnings = answer.json()["warnings"]
    assert [warning["kind"] for warning in warnings] == ["refused", "not_taken"]
    assert list(warnings[0]) == ["deviceNumber", "timestamp", "sensorName", "kind", "rule", "message"]
    assert warnings[1]["timestamp"] is None
    assert await waits(ingest_api, "told") == told + 1


async def test_a_late_result_leaves_the_warnings_empty_and_location_serves(
    ingest_api: IngestApiUnderTest, validator: AIOKafkaProducer
) -> None:
    await until_outcomes_are_followed(ingest_api)
    late = await waits(ingest_api, "late")
    answer = await answer_to_wait(ingest_api, validator, (0,), seconds=2)
    assert (answer.status, answer.json()["warnings"]) == (201, [])
    assert await waits(ingest_api, "late") == late + 1
    assert answer.headers["Preference-Applied"] == "wait=2"
    path = answer.headers["Location"].removeprefix("/api/v1")
    assert (await ingest_api.ask("GET", path)).json()["status"] == "pending"
    await tell(validator, UUID(path.rpartition("/")[2]), 1)
    assert (await ingest_api.ask("GET", path)).json()["status"] == "validated"


async def test_any_pod_tells_any_batch_of_its_provider(
    ingest_api: IngestApiUnderTest, validator: AIOKafkaProducer
) -> None:
    batch = new_batch_id(SystemClock().now_ms())
    path = f"/measurements/batches/{batch}"
    pending = await ingest_api.ask("GET", path)
    assert (pending.status, pending.json()["status"]) == (200, "pending")
    assert pending.json()["records"] == {"expected": None, "validated": 0, "dead": 0}
    for item in (0, 1, 0):
        await tell(validator, batch, item)
    result = (await ingest_api.ask("GET", path)).json()
    assert result["status"] == "validated"
    assert result["records"] == {"expected": 2, "validated": 2, "dead": 0}
    assert result["counts"] == {
        "measures": 2,
        "values": 6,
        "accepted": 4,
        "refused": 2,
        "notTaken": 0,
        "repeated": 0,
    }
    assert result["refusedPerRule"] == {"RV-03": 2}
    assert [refusal["sensorName"] for refusal in result["refusals"]] == ["Nadie"]
    stranger = await ingest_api.ask("GET", path, token=make_token(gateway=5, provider=4))
    assert (stranger.status, stranger.code) == (404, "batch_unknown")


async def test_a_batch_whose_rest_never_came_is_incomplete_after_a_minute(
    ingest_api: IngestApiUnderTest, validator: AIOKafkaProducer
) -> None:
    now_ms = SystemClock().now_ms()
    batch = new_batch_id(now_ms - 100_000)
    await tell(validator, batch, 0, timestamp_ms=now_ms - 61_000)
    assert (await ingest_api.ask("GET", f"/measurements/batches/{batch}")).json()["status"] == "incomplete"
    batch = new_batch_id(now_ms - 100_000)
    await tell(validator, batch, 0, timestamp_ms=now_ms - 30_000)
    assert (await ingest_api.ask("GET", f"/measurements/batches/{batch}")).json()["status"] == "pending"


async def test_what_is_outside_the_window_is_a_404_that_says_so(ingest_api: IngestApiUnderTest) -> None:
    old = new_batch_id(SystemClock().now_ms() - 3_601_000)
    answer = await ingest_api.ask("GET", f"/measurements/batches/{old}")
    assert (answer.status, answer.code) == (404, "batch_outside_window")
    for other in (
        "nonsense",
        "6f1c2c7e-6a0f-4b7e-9a52-0d5f1f3a9b11",
        str(new_batch_id(SystemClock().now_ms() + 120_000)),
    ):
        answer = await ingest_api.ask("GET", f"/measurements/batches/{other}")
        assert (answer.status, answer.code) == (404, "batch_unknown")


async def batch_in_a_fresh_partition(kafka: KafkaSettings, now_ms: int) -> tuple[UUID, int]:
    """What earlier tests left in a partition is recent: it would be read along, and what stands behind it too."""
    async with kafka_clients.consumer(kafka, topics.OUTCOMES) as consumer:
        ends = await consumer.end_offsets(consumer.assignment())
    partitions = sorted(ends)
    assert 0 in ends.values(), "earlier tests left outcomes in every partition"
    while True:
        batch = new_batch_id(now_ms)
        partition = partition_of(str(batch).encode(), partitions)
        if ends[partition] == 0:
            return batch, partition.partition


async def test_a_batch_is_found_among_very_many_outcomes(
    ingest_api: IngestApiUnderTest, validator: AIOKafkaProducer
) -> None:
    """A day of other traffic before it in the partition is skipped by time, what came since is read."""
    now_ms = SystemClock().now_ms()
    batch, number = await batch_in_a_fresh_partition(ingest_api.kafka, now_ms)
    for age_ms in (90_000_000, 0):
        sent = [
            await validator.send(topics.OUTCOMES, b"x" * 500, b"other", partition=number, timestamp_ms=now_ms - age_ms)
            for _ in range(3_000)
        ]
        await asyncio.gather(*sent)
    await tell(validator, batch, 0)
    await tell(validator, batch, 1)
    before = await ingest_api.metric("metering_ingest_outcomes_read_total", by="scan")
    assert (await ingest_api.ask("GET", f"/measurements/batches/{batch}")).json()["status"] == "validated"
    assert 3_000 <= await ingest_api.metric("metering_ingest_outcomes_read_total", by="scan") - before < 5_000
