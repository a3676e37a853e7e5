"""Invariants 1 and 3 from outside: what was sent is counted here, what became of it counted in SQL and in metrics."""

import json
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from metering_common.contract.batch_id import new_batch_id
from metering_common.contract.envelope import PackedEntry
from metering_common.contract.metadata import EntryMetadata, RegistryVersion, encode_metadata
from metering_common.contract.rev import http_rev
from metering_common.kafka.envelopes import raw_record
from tests.e2e.gateway import Site, element, post, register
from tests.e2e.platform import Platform, eventually

CURRENT, ENERGY, OTHER = "Corriente A", "Energía activa acumulada", "Corriente B"
LEDGER = ("values", "accepted", "refused", "not_taken", "repeated", "written", "corrected", "present", "superseded")


async def ledger(platform: Platform, device: int) -> dict[str, int]:
    sums = ", ".join(f'coalesce(sum("{column}"), 0)::int AS "{column}"' for column in LEDGER)
    async with platform.database() as connection:
        row = await connection.fetchrow(
            f"SELECT count(*)::int AS records, {sums} FROM ingest_batch WHERE device_id = $1", device
        )
    return dict(row or {})


async def stored(platform: Platform, device: int) -> dict[tuple[int, str], float]:
    async with platform.database() as connection:
        rows = await connection.fetch(
            "SELECT extract(epoch FROM time)::bigint AS at, sensor_name, value"
            " FROM measurement_named WHERE device_id = $1",
            device,
        )
    return {(row["at"], row["sensor_name"]): row["value"] for row in rows}


async def until_recorded(platform: Platform, device: int, records: int) -> dict[str, int]:
    return await eventually(lambda: ledger(platform, device), lambda sums: sums["records"] == records)


async def send(platform: Platform, site: Site, measures: dict[Any, list[tuple[str, Any]]]) -> None:
    status, answer = await post(platform, site.token, [element(site.number, measures)])
    assert (status, answer) == (201, {"success": True, "warnings": []})


@pytest.fixture
def at() -> int:
    """A recent whole minute: validation is against the platform's own clock, which no outsider sets."""
    return int(time.time()) // 60 * 60 - 3 * 3600


async def test_resending_changes_nothing_and_another_value_corrects(platform: Platform, at: int) -> None:
    site = await register(platform, "law three", "3", [CURRENT, ENERGY])
    measures = {at + 60 * n: [(CURRENT, n + 0.5), (ENERGY, 100.0 + n)] for n in range(100)}
    await send(platform, site, measures)
    await until_recorded(platform, site.device, 1)
    first = await stored(platform, site.device)
    await send(platform, site, measures)
    sums = await until_recorded(platform, site.device, 2)
    assert (sums["written"], sums["present"]) == (200, 200)
    assert await stored(platform, site.device) == first
    await send(platform, site, {at: [(CURRENT, 7.25), (ENERGY, 100.0)]})
    sums = await until_recorded(platform, site.device, 3)
    assert (sums["written"], sums["corrected"], sums["present"]) == (200, 1, 201)
    assert await stored(platform, site.device) == first | {(at, CURRENT): 7.25}


async def test_of_two_values_the_one_received_later_wins_in_whatever_order_they_come(
    platform: Platform, at: int
) -> None:
    site = await register(platform, "out of order", "3", [CURRENT])
    await send(platform, site, {at: [(CURRENT, 2.0)]})
    await until_recorded(platform, site.device, 1)
    await late_landing(platform, site, received_at_ms=(at + 60) * 1000, measures={at: [(CURRENT, 1.0)]})
    sums = await until_recorded(platform, site.device, 2)
    assert (sums["written"], sums["superseded"]) == (1, 1)
    assert await stored(platform, site.device) == {(at, CURRENT): 2.0}


async def late_landing(
    platform: Platform, site: Site, *, received_at_ms: int, measures: dict[Any, list[tuple[str, Any]]]
) -> None:
    """An envelope of a request that ingest-api received earlier and Kafka took only now."""
    batch = new_batch_id(received_at_ms)
    metadata = EntryMetadata(
        batch_id=batch,
        item=0,
        items=1,
        provider_id=site.provider,
        gateway_id=site.gateway,
        device_id=site.device,
        source="http",
        received_at_ms=received_at_ms,
        rev=http_rev(received_at_ms, batch, 0),
        registry=RegistryVersion("", 0),
    )
    producer = AIOKafkaProducer(bootstrap_servers=platform.environment["METERING_KAFKA"], acks="all")
    await producer.start()
    try:
        entry = PackedEntry(encode_metadata(metadata), element_bytes(site.number, measures))
        record = raw_record([entry], received_at_ms)
        await producer.send_and_wait(record.topic, record.value, headers=record.headers)
    finally:
        await producer.stop()


def element_bytes(number: str, measures: dict[Any, list[tuple[str, Any]]]) -> bytes:
    return json.dumps(element(number, measures)).encode()


async def test_every_value_sent_is_accounted_for(platform: Platform, at: int) -> None:
    site = await register(platform, "law one", "1", [CURRENT, ENERGY])
    before = await accounts(platform)
    requests: list[dict[Any, list[tuple[str, Any]]]] = [
        {at: [(CURRENT, 1.5), (ENERGY, 10)]},
        {at: [(CURRENT, 1.5), (ENERGY, 11)]},
        {at + 60: [(CURRENT, None), (ENERGY, 12), ("Nadie", 1), (OTHER, 2)]},
        {at + 120: [(CURRENT, "1"), (ENERGY, True)], at * 1000: [(CURRENT, 1)], at + 0.5: [(CURRENT, 1)]},
        {at + 180: [(CURRENT, 3), (CURRENT, 3), (ENERGY, 13), (ENERGY, 14)]},
        {at + 86_400: [(CURRENT, 4)]},
        {at + 240: []},
    ]
    for request in requests:
        await send(platform, site, request)
    sums = await until_recorded(platform, site.device, len(requests))
    sent = sum(len(values) for request in requests for values in request.values())
    assert sums["values"] == sent == sums["accepted"] + sums["refused"] + sums["not_taken"] + sums["repeated"]
    assert sums["accepted"] == sums["written"] + sums["corrected"] + sums["present"] + sums["superseded"]
    assert await stored(platform, site.device) == {
        (at, CURRENT): 1.5,
        (at, ENERGY): 11,
        (at + 60, ENERGY): 12,
        (at + 180, CURRENT): 3,
        (at + 180, ENERGY): 14,
    }
    assert {name: sums[name] for name in ("refused", "not_taken", "repeated")} == {
        "refused": 8,
        "not_taken": 1,
        "repeated": 1,
    }
    after = await accounts(platform)
    assert {name: after[name] - before[name] for name in after} == {
        "received": len(requests),
        "validated": len(requests),
        "values": sent,
        "accepted": sums["accepted"],
        "stored": sums["accepted"],
    }


async def accounts(platform: Platform) -> dict[str, float]:
    """Invariant 1 as the metrics hold it, summed over replicas."""
    return {
        "received": await platform.metric("ingest-api", "metering_ingest_entries_enqueued_total"),
        "validated": await platform.metric("validator", "metering_validator_entries_total"),
        "values": await platform.metric("validator", "metering_validator_values_total"),
        "accepted": await platform.metric("validator", "metering_validator_values_total", result="accepted"),
        "stored": await platform.metric("writer", "metering_writer_values_total"),
    }
