"""One measure on a running platform, step by step as docs/follow-one-measure.md tells it."""

import subprocess
import time
from typing import Any

import aiohttp

from tests.e2e.gateway import element, post, post_until_answered, register
from tests.e2e.platform import TOOLS, Platform, eventually


async def test_one_measure_all_the_way(platform: Platform) -> None:
    at = int(time.time()) - 60
    # 1. The gateway stores it before it sends it
    site = await register(platform, "one measure", "29")
    body = [element("29", {at: [("Corriente A", 1.4)]})]
    # 2. The contract says what may be sent
    spec = await fetch(f"{platform.api_url}/api/v1/spec", "")
    assert "/measurements" in str(spec["paths"])
    # 3. ingest-api reads the request
    status, problem = await post(platform, "no token", body)
    assert (status, problem["code"]) == (401, "token_invalid")
    # 4. ingest-api splits it per device
    status, problem = await post_until_answered(platform, site.token, [*body, element("30", {at: []})])
    assert (status, problem["errors"][0]["pointer"]) == (422, "/1/deviceNumber")
    # 5. ingest-api makes a promise
    status, answer, location = await post_and_locate(platform, site.token, body)
    assert (status, answer) == (201, {"success": True, "warnings": []})
    # 6. The validator validates
    result = await eventually(
        lambda: fetch(platform.api_url + location, site.token), lambda result: result["status"] != "pending"
    )
    # 7. The result travels on
    counts = result["counts"]
    assert (counts["accepted"], counts["refused"]) == (1, 0)
    # 8. The writer stores it once
    batch = location.rsplit("/", 1)[1]
    ledger = "SELECT written FROM ingest_batch WHERE batch_id = $1::text::uuid"
    assert await eventually(lambda: platform.scalar(ledger, batch), lambda written: written is not None) == 1
    # 9. The analyst reads it
    named = "SELECT value FROM measurement_named WHERE device_id = $1 AND sensor_name = 'Corriente A'"
    assert await platform.scalar(named, site.device) == 1.4
    assert [event for event in EVENTS if event not in follow(platform, batch)] == []


EVENTS = ("batch.enqueued", "entries.validated", "entries.stored")


def follow(platform: Platform, batch: str) -> str:
    """What `make follow BATCH=…` prints."""
    command = [str(TOOLS / "metering-local"), "follow", batch]
    return subprocess.run(command, env=platform.environment, capture_output=True, text=True, check=True).stdout


async def fetch(url: str, token: str) -> dict[str, Any]:
    headers = {"accept": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        assert response.status == 200, await response.text()
        return dict(await response.json())


async def post_and_locate(platform: Platform, token: str, body: object) -> tuple[int, object, str]:
    headers = {"accept": "application/json", "authorization": f"Bearer {token}"}
    url = f"{platform.api_url}/api/v1/measurements"
    async with aiohttp.ClientSession(headers=headers) as session, session.post(url, json=body) as response:
        return response.status, await response.json(), response.headers["Location"]
