"""The published document's own transcript, and every answer that is not the one asked for."""

import asyncio
import gzip
import json
import re
from collections.abc import Awaitable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from ingest_api_support import (
    Address,
    IngestApiProcess,
    IngestApiUnderTest,
    ingest_process,
    make_token,
    public_pem,
    publish,
    running_ingest_api,
    signing_key,
)

from metering_common.registry.documents import Gateway, KeyState
from metering_common.service.clock import SystemClock

TRANSCRIPT = json.loads((Path(__file__).parent / "published_transcript.json").read_text("utf-8"))
GOOD = b'[{"deviceNumber":"29","measures":[{"timestamp":1566226133,"sensorValues":[]}]}]'
REVOCATION_SECONDS = 5


async def test_the_published_transcript_is_answered_as_it_is_printed(ingest_api: IngestApiUnderTest) -> None:
    """Steps 2 to 4, sent with exactly the printed headers; step 1 is answered by auth."""
    for step in TRANSCRIPT[1:]:
        request = step["request"]
        body = json.dumps(request["body"], ensure_ascii=False).encode() if "body" in request else None
        answer = await ingest_api.ask(
            request["method"],
            request["path"].removeprefix("/api/v1"),
            headers=request["headers"] | ({"Content-Type": None} if body else {}),
            data=body,
            skip_auto_headers=["Content-Type"],
        )
        assert answer.status == step["answer"]["status"], step["step"]
        assert answer.headers["Content-Type"] == "application/json"
        compare(step["answer"]["body"], answer.json())


def compare(printed: Any, answered: Any) -> None:
    """As JSON values; of the server's time only the form can be the same."""
    if "datetime" in printed:
        assert list(answered) == list(printed)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", answered["datetime"])
        assert int(datetime.fromisoformat(answered["datetime"]).timestamp()) == answered["timestamp"]
    else:
        assert answered == printed


async def test_without_a_token_no_error_stands_in_the_challenge(ingest_api: IngestApiUnderTest) -> None:
    for headers in ({"Authorization": None}, {"Authorization": "Basic eDp5"}, {"Authorization": "Bearer "}):
        for path in (
            "/server-time",
            "/devices/29",
            "/devices/number/29",
            "/sensor-name-list",
            "/measurements/batches/x",
        ):
            answer = await ingest_api.ask("GET", path, headers=headers)
            assert (answer.status, answer.code) == (401, "token_missing")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert (await ingest_api.post(GOOD, headers={"Authorization": None})).code == "token_missing"


async def test_the_code_tells_expired_from_the_rest(ingest_api: IngestApiUnderTest) -> None:
    long_ago = SystemClock().now_ms() / 1_000 - 20_000
    expired = await ingest_api.ask("GET", "/server-time", token=make_token(now=long_ago))
    assert (expired.status, expired.code) == (401, "token_expired")
    assert expired.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
    refresh = await ingest_api.ask("GET", "/server-time", token=make_token(token_use="refresh"))
    assert (refresh.status, refresh.code) == (401, "token_invalid")


async def test_a_problem_has_all_its_members(ingest_api: IngestApiUnderTest) -> None:
    answer = await ingest_api.post(b'[{"deviceNumber":29,"measures":[]}]', headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert answer.json() == {
        "type": "urn:metering:problem:wrong_shape",
        "title": "The body has the wrong shape",
        "status": 422,
        "detail": "expected str, got int",
        "instance": "mine-1",
        "code": "wrong_shape",
        "errors": [{"pointer": "/0/deviceNumber", "detail": "expected str, got int"}],
    }


@pytest.mark.parametrize("odd", ["a b", "x" * 65, "ñ"])
async def test_an_odd_request_id_is_replaced(ingest_api: IngestApiUnderTest, odd: str) -> None:
    answer = await ingest_api.ask("GET", "/server-time", headers={"X-Request-Id": odd})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


async def test_what_is_not_offered_and_what_is_not_taken(ingest_api: IngestApiUnderTest) -> None:
    assert (await ingest_api.ask("GET", "/devices/29", headers={"Accept": "text/html"})).code == "not_acceptable"
    answer = await ingest_api.post(GOOD, headers={"Content-Type": "text/plain"})
    assert (answer.status, answer.code, answer.headers["Accept"]) == (415, "unsupported_media_type", "application/json")
    answer = await ingest_api.post(GOOD, headers={"Content-Encoding": "br"})
    assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "gzip, identity")


async def test_gzip_is_taken_in_one_member_or_more(ingest_api: IngestApiUnderTest) -> None:
    for body in (gzip.compress(GOOD), gzip.compress(GOOD[:20]) + gzip.compress(GOOD[20:])):
        assert (await ingest_api.post(body, headers={"Content-Encoding": "gzip"})).status == 201


async def test_sizes_are_told_apart(ingest_api: IngestApiUnderTest) -> None:
    padded = GOOD + b" " * (1_048_576 - len(GOOD))
    assert (await ingest_api.post(padded)).status == 201
    assert (await ingest_api.post(padded + b" ")).code == "body_too_large"
    assert (
        await ingest_api.post(gzip.compress(padded + b" "), headers={"Content-Encoding": "gzip"})
    ).code == "body_too_large"


async def test_a_gateway_over_its_rate_is_told_when_to_come_back(ingest_api: IngestApiUnderTest) -> None:
    async with running_ingest_api(ingest_api.kafka, requests_per_second=1, requests_burst=2) as limited:
        answers = [await limited.ask("GET", "/server-time") for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert answers[2].json()["limit"]["unit"] == "requests"
        assert int(answers[2].headers["Retry-After"]) >= 1
        assert (await limited.ask("GET", "/server-time", token=make_token(gateway=3))).status == 200
    async with running_ingest_api(ingest_api.kafka, bytes_per_second=100, bytes_burst=10) as limited:
        answers = [await limited.post(GOOD) for _ in range(2)]
        assert [answer.status for answer in answers] == [201, 429]
        assert answers[1].json()["limit"]["unit"] == "bytes"


async def until(ingest_api: IngestApiUnderTest, code: str, token: str) -> float:
    loop = asyncio.get_running_loop()
    started = loop.time()
    while (answer := await ingest_api.ask("GET", "/server-time", token=token)).status == 200 or answer.code != code:
        assert loop.time() - started < REVOCATION_SECONDS
    return loop.time() - started


async def test_revocations_keys_and_new_devices_reach_ingest_api_within_seconds(ingest_api: IngestApiUnderTest) -> None:
    token = make_token(kid="k2", gateway=3)
    assert (await ingest_api.ask("GET", "/server-time", token=token)).code == "token_invalid"
    await publish(ingest_api.kafka, signing_key("k2"))
    await until_taken(ingest_api, token)
    now = SystemClock().now_ms() // 1_000
    await publish(ingest_api.kafka, Gateway(id=3, provider=1, name="Anexo", revoked_at=now))
    await until(ingest_api, "token_revoked", token)
    await publish(
        ingest_api.kafka, Gateway(id=3, provider=1, name="Anexo"), signing_key("k2", state=KeyState.WITHDRAWN)
    )
    await until(ingest_api, "token_invalid", token)


async def until_taken(ingest_api: IngestApiUnderTest, token: str) -> None:
    started = asyncio.get_running_loop().time()
    while (await ingest_api.ask("GET", "/server-time", token=token)).status != 200:
        assert asyncio.get_running_loop().time() - started < REVOCATION_SECONDS


TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


def lines_of(ingest_api: IngestApiProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ingest_api.log.read_text().splitlines()]


async def test_the_access_log_has_a_line_per_request_and_no_token(
    ingest_api: IngestApiUnderTest, tmp_path: Path, address: Address
) -> None:
    with ingest_process(ingest_api.kafka.bootstrap_servers, tmp_path, address) as process:
        there = IngestApiUnderTest(process.port, process.admin_port, ingest_api.session, ingest_api.kafka)
        answer = await there.post(GOOD, headers={"X-Request-Id": "seen-1", "traceparent": TRACEPARENT})
        await there.ask("GET", f"/devices/number/{there.token[:60]}", headers={"X-Request-Id": "seen-2"})
        await there.ask("GET", "/server-time", token=there.token[:-5], headers={"X-Request-Id": "seen-3"})
    lines = {line.get("request_id"): line for line in lines_of(process)}
    enqueued = lines["seen-1"]
    assert (enqueued["event"], enqueued["status"], enqueued["service"]) == ("batch.enqueued", 201, "ingest-api")
    assert enqueued["batch_id"] == answer.headers["Location"].rpartition("/")[2]
    assert (enqueued["provider"], enqueued["gateway"], enqueued["records"]) == (1, 2, 1)
    assert enqueued["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert "trace_id" not in lines["seen-2"]
    assert lines["seen-2"]["route"] == "/api/v1/devices/number/{number}"
    assert lines["seen-3"]["code"] == "token_invalid"
    text = process.log.read_text()
    assert there.token[:30] not in text
    assert public_pem("k1")[40:80] not in text


async def test_metrics_are_labelled_by_route_template_only(ingest_api: IngestApiUnderTest) -> None:
    def count(**labels: str) -> Awaitable[float]:
        return ingest_api.metric("metering_ingest_requests_total", **labels)

    before = await count(route="/api/v1/devices/{id}", status="200"), await count(route="unknown", status="404")
    for path in ("/devices/29", "/devices/40", "/devices/number/29", "/whatever/29"):
        await ingest_api.ask("GET", path)
    await ingest_api.ask("PROPFIND", "/devices/29")
    assert await count(route="/api/v1/devices/{id}", status="200") == before[0] + 1
    assert await count(route="unknown", status="404") == before[1] + 1
    assert await count(method="other", status="405") == 1
    assert await ingest_api.metric("metering_ingest_problems_total", code="device_unknown") >= 1
    assert await count(route="/api/v1/devices/40") == 0
