"""The chart against a Kafka and a PostgreSQL that trust nobody, and the change of what they trust, under load."""

import asyncio
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from metering_cluster.kubectl import until
from metering_cluster.node import Node
from metering_local.authority import Authority
from tests.deploy.stand import front
from tests.deploy.stand import standing as stand
from tests.deploy.stand.load import sending
from tests.deploy.stand.locks import NEXT, Locks
from tests.deploy.stand.release import COMPONENTS, Release
from tests.e2e.platform import Platform

pytestmark = pytest.mark.kubernetes

NAMESPACE = "secured"


@pytest.fixture(scope="module")
def secured(cluster: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """A release of its own, beside the one of the other tests."""
    folder = tmp_path_factory.mktemp(NAMESPACE)
    locks = Locks(folder, cluster.network.host)
    with stand.standing_release(cluster, folder, NAMESPACE, locks) as release:
        yield release
    cluster.kubectl.run("delete", "namespace", NAMESPACE)


@pytest.fixture
def platform(secured: Release, tmp_path: Path) -> Iterator[Platform]:
    with front.running(tmp_path / "front", secured.address("auth"), secured.address("ingest-api")) as url:
        yield Platform(os.environ | secured.tools() | {"METERING_API_URL": url})


async def test_every_service_works_over_tls_as_its_own_principal(secured: Release, platform: Platform) -> None:
    async with sending(platform, "secured") as load:
        await asyncio.sleep(3)
    assert load.failures == {}
    await load.await_stored()
    assert set(secured.restarts().values()) == {0}
    assert secured.failed_creations() == []


async def test_kafkas_passwords_are_changed_by_second_users_without_a_failed_request(
    secured: Release, platform: Platform
) -> None:
    async with sending(platform, "second-users") as load:
        locks(secured).prefix = NEXT
        await asyncio.to_thread(secured.write_secrets)
        await asyncio.to_thread(secured.renew_pods)
    assert load.failures == {}
    await load.await_stored()


async def test_the_authority_of_both_servers_is_changed_and_nothing_is_lost(
    secured: Release, platform: Platform
) -> None:
    """The only broker is restarted for it, so requests may be refused for that while; they are sent again."""
    old, new = locks(secured).authority, locks(secured).next_authority()
    async with sending(platform, "authority", resend=True) as load:
        await asyncio.to_thread(trust, secured, old, new)
        assert load.failures == {}
        locks(secured).authority = new
        await asyncio.to_thread(secured.beside.take_new_certificates)
        taken = load.taken
        await asyncio.to_thread(until, "requests are taken again", lambda: load.taken > taken + 20)
        await asyncio.to_thread(trust, secured, new)
    assert set(load.failures) <= {"503"}
    await load.await_stored()
    for component in COMPONENTS:
        await asyncio.to_thread(partial(secured.await_rollout, component))


def locks(release: Release) -> Locks:
    assert release.beside.locks is not None
    return release.beside.locks


def trust(release: Release, *authorities: Authority) -> None:
    locks(release).trust(*authorities)
    release.write_secrets()
    release.renew_pods()
