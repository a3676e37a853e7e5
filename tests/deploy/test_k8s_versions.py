"""The release's life: from the chart before this one, back again, and gone, with what must outlive it still there."""

import asyncio
from pathlib import Path

import pytest

from tests.deploy.stand import front
from tests.deploy.stand.load import sending
from tests.deploy.stand.release import NAME, Release
from tests.e2e.platform import Platform

pytestmark = pytest.mark.kubernetes

PREVIOUS = Path(__file__).parent / "previous" / "metering-0.1.0.tgz"


async def test_upgrade_from_the_previous_chart_and_rollback_fail_no_request(
    release: Release, platform: Platform
) -> None:
    try:
        await asyncio.to_thread(release.install, PREVIOUS)
        assert chart_version(release) == "metering-0.1.0"
        async with sending(platform, "versions") as load:
            await asyncio.to_thread(release.install)
            assert chart_version(release) != "metering-0.1.0"
            await asyncio.to_thread(release.kubectl.helm, "rollback", NAME, "--timeout", "300s")
            await asyncio.to_thread(release.await_ready)
            assert chart_version(release) == "metering-0.1.0"
        assert load.failures == {}
        await load.await_stored()
    finally:
        await asyncio.to_thread(release.install)


async def test_uninstall_leaves_secrets_topics_and_data_and_an_install_goes_on(
    release: Release, platform: Platform, tmp_path: Path
) -> None:
    async with sending(platform, "before", devices=1) as load:
        await asyncio.sleep(2)
    await load.await_stored()
    try:
        release.kubectl.helm("uninstall", NAME, "--wait", "--timeout", "120s")
        kinds = "deployments,statefulsets,jobs,services,pdb,networkpolicies,horizontalpodautoscalers"
        assert release.kubectl.get(kinds)["items"] == []
        assert len(release.kubectl.get("secrets")["items"]) == len(release.secret_texts())
        await load.await_stored()
    finally:
        await asyncio.to_thread(release.install)
    with front.running(tmp_path / "again", release.address("auth"), release.address("ingest-api")) as url:
        again = Platform(platform.environment | {"METERING_API_URL": url})
        async with sending(again, "after", devices=1) as later:
            await asyncio.sleep(2)
        assert later.failures == {}
        await later.await_stored()


def chart_version(release: Release) -> str:
    labels = release.kubectl.get("deployment", f"{NAME}-auth")["metadata"]["labels"]
    return str(labels["helm.sh/chart"])
