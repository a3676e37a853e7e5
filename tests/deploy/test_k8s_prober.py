"""The prober in the cluster: by the cluster's names to the public API, with its token on a volume that outlives it."""

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metering_cluster.kubectl import until
from tests.deploy.stand import front
from tests.deploy.stand.release import NAME, Release
from tests.e2e.platform import Platform, eventually

pytestmark = pytest.mark.kubernetes

NOBODY = 10_001
INGEST_API = "public API"
PROBER = "prober"


@pytest.fixture
def volume(release: Release) -> Iterator[None]:
    """What a storage class would provide: one volume on this node, of no class."""
    folder = release.node.places.state / "prober"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    spec = {
        "capacity": {"storage": "100Mi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": str(folder)},
    }
    release.kubectl.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": PROBER}, "spec": spec})
    yield
    release.kubectl.run("delete", "persistentvolume", PROBER, "--wait=false")


@pytest.fixture
def ingest_api(release: Release, tmp_path: Path) -> Iterator[str]:
    """The load balancer under a name of the cluster's; its URL for pods."""
    host = release.node.network.host
    balancer = front.running(tmp_path / INGEST_API, release.address("auth"), release.address("ingest-api"), host)
    with balancer as url:
        port = int(url.rpartition(":")[2])
        release.kubectl.apply(*named(INGEST_API, host, port))
        yield f"http://{INGEST_API}"
    release.kubectl.run("delete", f"service/{INGEST_API}")


@pytest.mark.usefixtures("volume")
async def test_a_prober_is_enrolled_reads_its_series_back_and_keeps_its_token(
    release: Release, platform: Platform, ingest_api: str
) -> None:
    try:
        await asyncio.to_thread(release.upgrade, {"components": {PROBER: prober(ingest_api)}})
        await asyncio.to_thread(release.await_rollout, PROBER)
        assert await metric(release, "metering_prober_enrolled") == 0
        give_token(release, issued_token(platform))
        await eventually(lambda: metric(release, "metering_prober_probes_total", result="ok"), lambda ok: ok >= 5, 120)
        assert await metric(release, "metering_prober_series_missing_measures") == 0
        await asyncio.to_thread(release.restart, PROBER)
        await eventually(lambda: metric(release, "metering_prober_probes_total", result="ok"), lambda ok: ok >= 5, 120)
        assert await metric(release, "metering_prober_series_wrong_measures") == 0
        assert await metric(release, "metering_prober_enrolled") == 1
    finally:
        await asyncio.to_thread(release.install)


def prober(url: str) -> dict[str, Any]:
    return {"enabled": True, "apiUrl": url, "settings": {"PROBER_EVERY_SECONDS": 2}}


def issued_token(platform: Platform) -> str:
    """As the prober's README tells it."""
    provider = str(platform.admin("provider", "add", "Prober")["id"])
    gateway = str(platform.admin("gateway", "add", "--provider", provider, PROBER)["id"])
    platform.admin("device", "add", "--provider", provider, "--number", PROBER, "--interval-seconds", "30")
    return json.dumps(platform.admin("gateway", "issue-token", gateway))


def give_token(release: Release, token: str) -> None:
    patch = json.dumps({"stringData": {"refresh-token": token}})
    release.kubectl.run("patch", "secret", f"{NAME}-{PROBER}", "--patch", patch)


async def metric(release: Release, name: str, **labels: str) -> float:
    """From the pod's admin port, as Prometheus reads it."""

    def address() -> str:
        pods = release.pods(PROBER)
        return str(pods[0]["status"].get("podIP", "")) if len(pods) == 1 else ""

    ip = await asyncio.to_thread(until, "there is one prober", address)
    pod = Platform({"METERING_PROBER_ADMIN_URL": f"http://{ip}:9090"})
    return await pod.metric(PROBER, name, **labels)


def named(name: str, address: str, port: int) -> list[dict[str, Any]]:
    """A Service without a selector, and its one address."""
    subset = {"addresses": [{"ip": address}], "ports": [{"port": port}]}
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
         "spec": {"ports": [{"port": 80, "targetPort": port}]}},
        {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": name}, "subsets": [subset]},
    ]  # fmt: skip
