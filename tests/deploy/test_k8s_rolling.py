"""Invariant 4 on a cluster: pods are replaced, killed, stopped, starved under load; nothing lost or doubled."""

import asyncio
import os
import signal
from functools import partial
from typing import Any

import pytest

from metering_cluster.kubectl import until
from tests.deploy.stand.load import sending
from tests.deploy.stand.release import COMPONENTS, Release
from tests.e2e.platform import Platform

pytestmark = pytest.mark.kubernetes


async def test_a_rolling_update_of_every_service_fails_no_request(release: Release, platform: Platform) -> None:
    async with sending(platform, "rolling") as load:
        await asyncio.sleep(3)
        before = names(release)
        await asyncio.to_thread(release.restart, *COMPONENTS)
        await asyncio.sleep(3)
    assert load.failures == {}
    assert load.taken > 100
    assert names(release).isdisjoint(before)
    await load.await_stored()


async def test_kill_9_of_every_service_loses_and_doubles_nothing(release: Release, platform: Platform) -> None:
    async with sending(platform, "killed", resend=True) as load:
        for component in COMPONENTS:
            pod = release.pods(component)[0]
            os.kill(release.process(pod), signal.SIGKILL)
            await asyncio.to_thread(until, f"{component} restarted", partial(restarted, release, pod))
            await asyncio.to_thread(release.await_rollout, component)
    await load.await_stored()


async def test_a_stopped_process_is_found_by_its_liveness_and_replaced(release: Release, platform: Platform) -> None:
    async with sending(platform, "stopped", resend=True) as load:
        pods = [release.pods(component)[0] for component in ("ingest-api", "validator", "writer")]
        for pod in pods:
            os.kill(release.process(pod), signal.SIGSTOP)
        for pod in pods:
            await asyncio.to_thread(until, "it is restarted", partial(restarted, release, pod), 180)
        await asyncio.to_thread(release.await_ready)
    await load.await_stored(180)


async def test_a_starved_writer_is_killed_alone_and_catches_up(release: Release, platform: Platform) -> None:
    """Its limit is below the 52 MiB that it holds idle: the kernel kills it again and again, until it has its room."""
    starved = {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"memory": "48Mi"}}
    others = [component for component in COMPONENTS if component != "writer"]
    async with sending(platform, "starved") as load:
        over = {"components": {"writer": {"resources": starved}}}
        await asyncio.to_thread(release.upgrade, over)
        await asyncio.to_thread(until, "the kernel ends a writer", lambda: out_of_memory(release, "writer"), 180)
        assert not any(out_of_memory(release, component) for component in others)
        await asyncio.to_thread(release.install)
    assert load.failures == {}
    await load.await_stored(240)


async def test_pods_that_wait_for_kafka_are_left_alone(release: Release, platform: Platform) -> None:
    before = release.restarts()
    broker = release.beside.kafka_server
    async with sending(platform, "without-kafka", resend=True) as load:
        await asyncio.sleep(2)
        broker.pause()
        try:
            await asyncio.sleep(75)
        finally:
            broker.resume()
        taken = load.taken
        await asyncio.to_thread(until, "requests are taken again", lambda: load.taken > taken + 20)
        await asyncio.to_thread(release.await_ready)
    assert release.restarts() == before
    # ingest-api refuses with 503; where none is ready any more the balancer has nobody to ask.
    assert set(load.failures) <= {"503", "502"}
    await load.await_stored(180)


async def test_pods_that_start_without_kafka_wait_alive_and_go_on_by_themselves(release: Release) -> None:
    broker = release.beside.kafka_server
    broker.pause()
    try:
        await asyncio.to_thread(release.delete_pods)
        await asyncio.sleep(90)
        pods = [pod for component in COMPONENTS for pod in release.pods(component)]
        assert len(pods) == 2 * len(COMPONENTS)
        assert {pod["status"]["phase"] for pod in pods} == {"Running"}
        assert not any(is_ready(pod) for component in ("ingest-api", "validator") for pod in release.pods(component))
        assert all(is_ready(pod) for pod in release.pods("auth")), "gateways refresh their tokens meanwhile"
    finally:
        broker.resume()
    await asyncio.to_thread(release.await_ready)
    assert set(release.restarts().values()) == {0}


def is_ready(pod: dict[str, Any]) -> bool:
    return all(status["ready"] for status in pod["status"]["containerStatuses"])


def names(release: Release) -> set[str]:
    return {f"{pod['metadata']['name']}/{pod['metadata']['uid']}" for each in COMPONENTS for pod in release.pods(each)}


def restarted(release: Release, pod: dict[str, Any]) -> bool:
    name, before = pod["metadata"]["name"], pod["status"]["containerStatuses"][0]["restartCount"]
    return bool(release.restarts().get(name, before + 1) > before)


def out_of_memory(release: Release, component: str) -> bool:
    statuses = [status for pod in release.pods(component) for status in pod["status"].get("containerStatuses", [])]
    states = [state for status in statuses for state in (status["state"], status.get("lastState", {}))]
    return any(state.get("terminated", {}).get("reason") == "OOMKilled" for state in states)
