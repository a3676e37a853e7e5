"""A measure of the site, sent through ingest-api of the secured platform and looked up in SQL."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import asyncpg

from tests.integration.secured_platform import SecuredPlatform
from tests.integration.site import Site

STORED_SECONDS = 60


async def sql(secured: SecuredPlatform, role: str, database: str, query: str, *arguments: object) -> Any:
    connection = await asyncpg.connect(secured.dsn(role, database))
    try:
        return await connection.fetchval(query, *arguments)
    finally:
        await connection.close()


async def eventually(read: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + STORED_SECONDS
    while not wanted(answer := await read()):
        assert time.monotonic() < end, f"still {answer!r}"
        await asyncio.sleep(0.2)
    return answer


async def send(secured: SecuredPlatform, site: Site, at: int, **headers: str) -> str:
    """One value of the site's device through ingest-api; the batch's id."""
    body = [{"deviceNumber": site.number, "measures": [
        {"timestamp": at, "sensorValues": [{"sensorName": "Corriente A", "sensorValue": 1.4}]}]}]  # fmt: skip
    sent = {"authorization": f"Bearer {site.token}", "accept": "application/json"} | headers
    url = f"{secured.url('ingest-api')}/api/v1/measurements"
    async with aiohttp.ClientSession(headers=sent) as session, session.post(url, json=body) as response:
        assert response.status == 201, await response.text()
        return response.headers["Location"].rsplit("/", 1)[1]


async def ledger(secured: SecuredPlatform, batch: str) -> Any:
    query = "SELECT written FROM ingest_batch WHERE batch_id = $1::text::uuid"
    return await eventually(lambda: sql(secured, "storage_reader", "storage", query, batch), lambda n: n is not None)
