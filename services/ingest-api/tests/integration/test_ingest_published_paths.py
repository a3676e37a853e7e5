"""The published paths, asked over HTTP of an ingest-api before a real Kafka."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiokafka import ConsumerRecord
from ingest_api_support import Answer, IngestApiUnderTest, dictionary, make_token

from metering_common.contract import topics
from metering_common.contract.metadata import decode_headers
from metering_common.contract.rev import http_rev
from metering_common.kafka import clients as kafka_clients
from metering_common.service.clock import SystemClock


async def raw_records(ingest_api: IngestApiUnderTest, answer: Answer) -> list[ConsumerRecord]:
    """The answered request's records on the raw topic, by item: as many as they say they are."""
    batch_id = answer.headers["Location"].rpartition("/")[2].encode()
    found: dict[int, ConsumerRecord] = {}
    async with kafka_clients.consumer(ingest_api.kafka, topics.RAW) as consumer:
        while not found or len(found) < decode_headers(list(found[min(found)].headers)).items:
            record = await consumer.getone()
            if dict(record.headers)["batch-id"] == batch_id:
                found[decode_headers(list(record.headers)).item] = record
    return [found[item] for item in sorted(found)]


async def enqueued(ingest_api: IngestApiUnderTest) -> tuple[float, float]:
    """Records and measures under a 201 so far."""
    return (
        await ingest_api.metric("metering_ingest_records_enqueued_total"),
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
    (record,) = await raw_records(ingest_api, answer)
    headers = decode_headers(list(record.headers))
    assert answer.headers["Location"] == f"/api/v1/measurements/batches/{headers.batch_id}"
    assert record.key == b"29"
    assert (headers.item, headers.items, headers.source) == (0, 1, "http")
    assert (headers.provider_id, headers.gateway_id, headers.device_id) == (1, 2, 29)
    assert before <= headers.received_at_ms <= SystemClock().now_ms()
    assert headers.rev == http_rev(headers.received_at_ms, headers.batch_id, 0)
    assert headers.registry.position > 0
    assert headers.traceparent is None


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
    records = await raw_records(ingest_api, answer)
    assert [record.value for record in records] == parts
    headers = [decode_headers(list(record.headers)) for record in records]
    assert {header.batch_id for header in headers} == {UUID(answer.headers["Location"].rpartition("/")[2])}
    assert [(header.item, header.items) for header in headers] == [(0, 3), (1, 3), (2, 3)]
    assert {header.traceparent for header in headers} == {trace}
    assert await enqueued(ingest_api) == (before[0] + 3, before[1] + 3)


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
