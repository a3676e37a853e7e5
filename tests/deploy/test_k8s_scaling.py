"""The number of ingest-api replicas follows the load on their processors, up and down again."""

import asyncio

import pytest

from metering_cluster.kubectl import until
from tests.deploy.stand.load import sending
from tests.deploy.stand.release import NAME, Release
from tests.e2e.platform import Platform

pytestmark = pytest.mark.kubernetes

INGEST_API = "ingest-api"
ROOM = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
"""So much that an ingest-api without requests is far below its target."""


async def test_ingest_apis_follow_the_load_and_no_request_fails(release: Release, platform: Platform) -> None:
    scaling = {"enabled": True, "minReplicas": 2, "maxReplicas": 4, "cpuPercent": 25, "downSeconds": 10}
    over = {"components": {INGEST_API: {"autoscaling": scaling, "resources": ROOM}}}
    try:
        await asyncio.to_thread(release.upgrade, over)
        await asyncio.to_thread(until, "processor times are known", lambda: measured(release))
        async with sending(platform, "scaling", lanes=6) as load:
            await asyncio.to_thread(until, "there are four ingest-api replicas", lambda: replicas(release) == 4, 180)
            await asyncio.to_thread(release.await_rollout, INGEST_API)
        await asyncio.to_thread(until, "there are two ingest-api replicas again", lambda: replicas(release) == 2, 300)
        assert load.failures == {}
        await load.await_stored()
    finally:
        await asyncio.to_thread(release.install)


def measured(release: Release) -> bool:
    return release.kubectl.run("top", "pods", check=False).returncode == 0


def replicas(release: Release) -> int:
    return int(release.kubectl.get("deployment", f"{NAME}-{INGEST_API}")["spec"]["replicas"])
