"""The published paths, asked over HTTP of an ingest-api before a real Kafka."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ingest_api_support import Answer, IngestApiUnderTest, dictionary, make_token

from metering_common.contract import topics
from metering_common.contract.envelope import ConsumedRecord, Envelope, read_envelope
from metering_common.contract.metadata import EntryMetadata, RecordPosition
from metering_common.contract.rev import http_rev
from metering_common.kafka import clients as kafka_clients
from metering_common.service.clock import SystemClock


async def envelope_with(ingest_api: IngestApiUnderTest, answer: Answer) -> Envelope:
    """The envelope on the raw topic that carries the answered request."""
    batch_id = answer.headers["Location"].rpartition("/")[2]
    async with kafka_clients.consumer(ingest_api.kafka, topics.RAW) as consumer:
        async for record in consumer:
            at = RecordPosition(record.topic, record.partition, record.offset)
            envelope = read_envelope(
                ConsumedRecord(at, record.timestamp, record.key, record.value, list(record.headers))
            )
            if batch_id in {str(entry.metadata.batch_id) for entry in envelope.entries}:
                return envelope
    raise AssertionError("the topic has an end")


async def raw_entries(ingest_api: IngestApiUnderTest, answer: Answer) -> list[tuple[EntryMetadata, bytes]]:
    """The answered request's entries, in the envelope's order."""
    envelope = await envelope_with(ingest_api, answer)
    batch_id = answer.headers["Location"].rpartition("/")[2]
    return [
        (entry.metadata, entry.packed.value) for entry in envelope.entries if str(entry.metadata.batch_id) == batch_id
    ]


async def enqueued(ingest_api: IngestApiUnderTest) -> tuple[float, float]:
    """Entries and measures under a 201 so far."""
    return (
        await ingest_api.metric("metering_ingest_entries_enqueued_total"),
        await ingest_api.metric("metering_ingest_measures_enqueued_total"),
    )


async def test_a_device_is_told_by_id_and_by_number(ingest_api: IngestApiUnderTest) -> None:
    by_id, by_number = await ingest_api.ask("GET", "/devices/29"), await ingest_api.ask("GET", "/devices/number/29")
    assert by_id.status == by_number.status == 200
    assert by_id.body == by_number.body
    device = by_id.json()
    assert (device["id"], device["number"], len(device["sensors"])) == (29, "29", 30)
    assert device["sensors"][2] == {"name": "Energía activa acumulada", "alias": "EACTIVE", "unit": "kWh"}
    assert device["sensors"][0] == {"name": "Potencia activa total instantánea", "unit": "kW"}


async def test_a_number_may_be_any_text_and_sensors_stand_in_the_dictionarys_order(
    ingest_api: IngestApiUnderTest,
) -> None:
    for path in ("planta%202%2F%C3%B1%2050%25", "planta%202%2Fn%CC%83%2050%25"):
        answer = await ingest_api.ask("GET", f"/devices/number/{path}")
        assert answer.json()["id"] == 30
        assert [sensor["name"] for sensor in answer.json()["sensors"]] == [
            dictionary()[0].name,
            dictionary()[2].name,
        ]


async def test_another_providers_device_looks_exactly_like_none(ingest_api: IngestApiUnderTest) -> None:
    ask: dict[str, Any] = {"headers": {"X-Request-Id": "same"}}
    answers = [
        await ingest_api.ask("GET", path, **ask)
        for path in ("/devices/40", "/devices/41", "/devices/number/40", "/devices/number/41", "/devices/x")
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(404, answers[0].body)}
    assert answers[0].code == "device_unknown"
    assert (await ingest_api.ask("GET", "/devices/40", token=make_token(gateway=5, provider=4))).json()[
        "number"
    ] == "40"


async def test_the_server_tells_its_time_and_nobody_keeps_it(ingest_api: IngestApiUnderTest) -> None:
    before = SystemClock().now_ms()
    answer = await ingest_api.ask("GET", "/server-time")
    moment = datetime.fromisoformat(answer.json()["datetime"])
    assert before <= moment.timestamp() * 1_000 <= SystemClock().now_ms()
    assert answer.json()["timestamp"] == int(moment.timestamp())
    assert moment.tzinfo is UTC or moment.utcoffset() == UTC.utcoffset(None)
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_dictionary_is_told_in_order(ingest_api: IngestApiUnderTest) -> None:
    answer = await ingest_api.ask("GET", "/sensor-name-list")
    assert [sensor["name"] for sensor in answer.json()] == [sensor.name for sensor in dictionary()]
    assert sum("alias" in sensor for sensor in answer.json()) == sum(
        sensor.alias is not None for sensor in dictionary()
    )


async def test_the_definition_needs_no_token(ingest_api: IngestApiUnderTest) -> None:
    answer = await ingest_api.ask("GET", "/spec", headers={"Authorization": None})
    assert answer.status == 200
    assert answer.json()["openapi"] == "3.1.0"
    assert "/measurements" in answer.json()["paths"]


async def test_measurements_stand_in_kafka_when_the_201_is_sent(
    ingest_api: IngestApiUnderTest, example_body: list[dict[str, Any]]
) -> None:
    before = SystemClock().now_ms()
    answer = await ingest_api.post(example_body)
    assert (answer.status, answer.json()) == (201, {"success": True, "warnings": []})
    ((metadata, value),) = await raw_entries(ingest_api, answer)
    assert answer.headers["Location"] == f"/api/v1/measurements/batches/{metadata.batch_id}"
    assert json.loads(b"[" + value + b"]") == example_body
    assert (metadata.item, metadata.items, metadata.source) == (0, 1, "http")
    assert (metadata.provider_id, metadata.gateway_id, metadata.device_id) == (1, 2, 29)
    assert before <= metadata.received_at_ms <= SystemClock().now_ms()
    assert metadata.rev == http_rev(metadata.received_at_ms, metadata.batch_id, 0)
    assert metadata.registry.position > 0
    assert metadata.traceparent is None


async def test_a_request_is_split_per_device_and_no_byte_is_changed(ingest_api: IngestApiUnderTest) -> None:
    parts = [
        b'{ "deviceNumber" : "29", "measures":[{"timestamp":1566226133,"sensorValues":[ 1.50e0 ]}], "extra": null}',
        '{"measures":[{"timestamp":1566226133,"sensorValues":[NaN,1e400]}],"deviceNumber":"planta 2/ñ 50%"}'.encode(),
        b'{"deviceNumber":"31","measures":[{"timestamp":1566226133,"sensorValues":[]}]}',
    ]
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    before = await enqueued(ingest_api)
    answer = await ingest_api.post(b" [" + b" ,\n".join(parts) + b"]\n", headers={"traceparent": trace})
    assert answer.status == 201
    entries = await raw_entries(ingest_api, answer)
    assert [value for _, value in entries] == parts
    metadata = [one for one, _ in entries]
    assert {one.batch_id for one in metadata} == {UUID(answer.headers["Location"].rpartition("/")[2])}
    assert [(one.item, one.items) for one in metadata] == [(0, 3), (1, 3), (2, 3)]
    assert {one.traceparent for one in metadata} == {trace}
    assert await enqueued(ingest_api) == (before[0] + 3, before[1] + 3)


async def test_requests_that_come_together_share_an_envelope_and_none_is_split(ingest_api: IngestApiUnderTest) -> None:
    body = [{"deviceNumber": number, "measures": [{"timestamp": 1, "sensorValues": []}]} for number in ("29", "31")]
    before = await ingest_api.metric("metering_ingest_envelope_entries_count")
    answers = await asyncio.gather(*[ingest_api.post(body) for _ in range(60)])
    assert {answer.status for answer in answers} == {201}
    envelopes = await ingest_api.metric("metering_ingest_envelope_entries_count") - before
    assert envelopes < 50
    assert len({answer.headers["Location"] for answer in answers}) == 60
    for answer in answers[::20]:
        entries = await raw_entries(ingest_api, answer)
        assert [(metadata.item, metadata.device_id) for metadata, _ in entries] == [(0, 29), (1, 31)]


async def test_unknown_devices_are_all_named_and_nothing_is_enqueued(ingest_api: IngestApiUnderTest) -> None:
    body = [
        {"deviceNumber": number, "measures": [{"timestamp": 1, "sensorValues": []}]}
        for number in ("29", "nobody", "40", "nobody")
    ]
    before = await enqueued(ingest_api)
    answer = await ingest_api.post(body)
    assert (answer.status, answer.code) == (422, "devices_unknown")
    assert answer.json()["deviceNumbers"] == ["nobody", "40"]
    assert [error["pointer"] for error in answer.json()["errors"]] == [
        f"/{number}/deviceNumber" for number in (1, 2, 3)
    ]
    assert await enqueued(ingest_api) == before


async def test_paths_and_methods_that_are_not_there_are_problems_too(ingest_api: IngestApiUnderTest) -> None:
    assert (await ingest_api.ask("GET", "/nothing")).code == "path_unknown"
    answer = await ingest_api.ask("DELETE", "/measurements")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert (await ingest_api.ask("POST", "/devices/29")).headers["Allow"] == "GET, HEAD"
    assert (await ingest_api.ask("HEAD", "/devices/29")).status == 200
