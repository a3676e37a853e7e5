"""The number of doors follows the load on their processors, up and down again."""

import asyncio

import pytest

from tests.deploy.cluster.kubectl import until
from tests.deploy.cluster.load import sending
from tests.deploy.cluster.release import NAME, Release
from tests.e2e.platform import Platform

pytestmark = pytest.mark.kubernetes

DOOR = "ingest-api"


async def test_doors_follow_the_load_and_no_request_fails(release: Release, platform: Platform) -> None:
    scaling = {"enabled": True, "minReplicas": 2, "maxReplicas": 4, "cpuPercent": 60, "downSeconds": 10}
    over = {"components": {DOOR: {"autoscaling": scaling}}}
    try:
        await asyncio.to_thread(release.upgrade, over)
        async with sending(platform, "scaling", devices=12) as load:
            await asyncio.to_thread(until, "there are four doors", lambda: replicas(release) == 4, 180)
            await asyncio.to_thread(release.await_rollout, DOOR)
        await asyncio.to_thread(until, "there are two doors again", lambda: replicas(release) == 2, 300)
        assert load.failures == {}
        await load.await_stored()
    finally:
        await asyncio.to_thread(release.install)


def replicas(release: Release) -> int:
    return int(release.kubectl.get("deployment", f"{NAME}-{DOOR}")["spec"]["replicas"])
