"""The prober as a gateway, over HTTP, against the gateway library's own platform: tokens, refusals, silence."""

import json
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from metering_gateway.api import InputApi
from metering_gateway.conformance import Fault, Platform, running, scripted
from metering_gateway.domain.answers import NO_ANSWER
from metering_prober.adapters.public_api import GatewayClient
from metering_prober.domain.series import value_at

NOW = 1_795_000_020
SENSOR = "Corriente A"


@asynccontextmanager
async def ingest_api_to(url: str, folder: Path) -> AsyncIterator[GatewayClient]:
    folders = folder / "state", folder / "issued.json"
    async with GatewayClient.open(InputApi(url, 5), folders, "prober", SENSOR) as ingest_api:
        yield ingest_api


def issue(platform: Platform, folder: Path, *, bare: bool = False) -> None:
    token = platform.issued_refresh_token()
    (folder / "issued.json").write_text(token if bare else json.dumps({"refreshToken": token, "gateway": 1}))


async def test_a_measure_arrives_as_it_was_made(tmp_path: Path) -> None:
    async with running(Platform(devices={"prober"})) as platform:
        issue(platform, tmp_path)
        async with ingest_api_to(platform.url, tmp_path) as ingest_api:
            assert (await ingest_api.send(NOW, value_at(NOW))).result == "accepted"
        assert platform.arrivals == {("prober", NOW, SENSOR): [value_at(NOW)]}


async def test_without_a_token_it_waits_for_one_and_takes_it_when_it_comes(tmp_path: Path) -> None:
    async with running(Platform(devices={"prober"})) as platform, ingest_api_to(platform.url, tmp_path) as ingest_api:
        assert (await ingest_api.send(NOW, 1)).result == "no_token"
        issue(platform, tmp_path, bare=True)
        assert (await ingest_api.send(NOW, 1)).result == "accepted"


async def test_the_issued_token_is_exchanged_once_also_over_restarts(tmp_path: Path) -> None:
    exchanges: list[str] = []
    async with running(Platform(devices={"prober"})) as platform:
        platform.on_call = exchanges.append
        issue(platform, tmp_path)
        for _ in range(3):
            async with ingest_api_to(platform.url, tmp_path) as ingest_api:
                assert (await ingest_api.send(NOW, 1)).result == "accepted"
    assert len([path for path in exchanges if path.endswith("/refresh")]) == 1


async def test_a_token_file_that_was_taken_already_is_not_presented_again_and_a_new_one_is(tmp_path: Path) -> None:
    async with running(Platform(devices={"prober"})) as platform:
        issue(platform, tmp_path)
        async with ingest_api_to(platform.url, tmp_path) as ingest_api:
            await ingest_api.send(NOW, 1)
            (tmp_path / "state" / "token.json").unlink()
            assert (await ingest_api.send(NOW, 1)).result == "no_token"
            issue(platform, tmp_path)
            assert (await ingest_api.send(NOW, 1)).result == "accepted"


async def test_what_the_platform_refuses_and_what_it_does_not_answer_are_told_apart(tmp_path: Path) -> None:
    faults = scripted([Fault.UNAVAILABLE, Fault.CUT, Fault.BAD_GATEWAY])
    async with (
        running(Platform(devices={"prober"}, faults=faults)) as platform,
        ingest_api_to(platform.url, tmp_path) as ingest_api,
    ):
        issue(platform, tmp_path)
        results = [await ingest_api.send(NOW + step, 1) for step in range(4)]
    assert [sent.result for sent in results] == ["refused", "unanswered", "refused", "accepted"]
    assert re.match("503", results[0].detail)


async def test_nobody_there_is_unanswered(tmp_path: Path, unused_tcp_port: int) -> None:
    async with ingest_api_to(f"http://127.0.0.1:{unused_tcp_port}", tmp_path) as ingest_api:
        (tmp_path / "issued.json").write_text("token")
        assert (await ingest_api.send(NOW, 1)).result == "unanswered"


async def test_a_public_api_of_ones_own_authority_is_trusted_by_its_file_alone(
    certificate: Callable[[datetime], tuple[ssl.SSLContext, Path]],
) -> None:
    context, file = certificate(datetime.now(UTC) + timedelta(days=1))
    runner = web.AppRunner(web.Application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        async with InputApi(url, 5) as stranger, InputApi(url, 5, file) as friend:
            assert (await stranger.server_time("x")).status == NO_ANSWER
            assert (await friend.server_time("x")).status == HTTPStatus.NOT_FOUND
    finally:
        await runner.cleanup()
