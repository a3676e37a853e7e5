"""Invariant 4 for the validator: whatever happens to its process, every raw record is validated, and always alike."""

import asyncio
from random import Random

import pytest
from validator_support.account import check, look_until_complete, publish_load
from validator_support.live import Replicas, committed_offsets, delete_topic, end_offsets, publish_registry

from metering_common.contract import topics
from metering_common.kafka.publisher import Publisher
from metering_common.service.lifecycle import DRAIN_EXCEEDED
from metering_common.service.settings import KafkaSettings

COUNT = 4_000
SEEDS = range(3)
CHAOS_SEEDS = range(100, 150)
STATIC = {"VALIDATOR_GROUP_INSTANCE_ID": "validator-0"}
"""The same member again: the partitions need not wait for the dead one's session to end."""


async def test_a_stop_under_load_finishes_what_is_in_flight_and_nothing_is_validated_twice(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher
) -> None:
    await publish_registry(publisher)
    load = asyncio.create_task(publish_load(publisher, COUNT, seed=1))
    first = replicas.start(**STATIC)
    await first.logged("records.validated")
    first.ask_to_stop()
    assert await first.ended() == 0
    await load
    replicas.start(**STATIC)
    seen = await look_until_complete(kafka)
    assert check(seen, COUNT) == 0


async def test_a_drain_that_takes_too_long_ends_by_force_and_commits_nothing_of_the_batch(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher
) -> None:
    await publish_registry(publisher)
    stuck = replicas.start(VALIDATOR_DRAIN_SECONDS="0.5", **STATIC)
    await stuck.logged("service.started")
    await delete_topic(kafka, topics.OUTCOMES)  # so the batch is in flight for as long as this test likes
    await publish_load(publisher, 50, seed=2)
    await stuck.logged("records.publish_retried")
    stuck.ask_to_stop()
    assert await stuck.ended() == DRAIN_EXCEEDED
    assert await committed_offsets(kafka) == {}
    await topics.apply(kafka)
    replicas.start(**STATIC)
    check(await look_until_complete(kafka), 50)


@pytest.mark.parametrize("seed", SEEDS)
async def test_kill_9_at_random_moments_under_load_loses_nothing(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, seed: int
) -> None:
    await kill_at_random(kafka, replicas, publisher, seed)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", CHAOS_SEEDS)
async def test_many_kills(kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, seed: int) -> None:
    await kill_at_random(kafka, replicas, publisher, seed)


async def kill_at_random(kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, seed: int) -> None:
    """Kills the replica twice while it works, small batches and frequent commits giving it many moments to be hit."""
    random = Random(seed)
    await publish_registry(publisher)
    load = asyncio.create_task(publish_load(publisher, COUNT, seed))
    for _ in range(2):
        victim = replicas.start(VALIDATOR_BATCH_RECORDS="40", VALIDATOR_BATCH_WAIT_SECONDS="0.01", **STATIC)
        await victim.logged("records.validated")
        await asyncio.sleep(random.uniform(0, 0.5))
        victim.kill()
    await load
    replicas.start(**STATIC)
    twice = check(await look_until_complete(kafka), COUNT)
    print(f"seed {seed}: {COUNT} records, none lost, {twice} validated twice")  # noqa: T201  what `make chaos` shows


async def test_replicas_that_join_and_leave_lose_nothing(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher
) -> None:
    await publish_registry(publisher)
    load = asyncio.create_task(publish_load(publisher, 3 * COUNT, seed=4))
    first = replicas.start(VALIDATOR_BATCH_RECORDS="100")
    await first.logged("records.validated")
    second = replicas.start(VALIDATOR_BATCH_RECORDS="100")
    third = replicas.start(VALIDATOR_BATCH_RECORDS="100")
    await second.logged("service.started")
    await third.logged("service.started")
    second.ask_to_stop()
    assert await second.ended() == 0
    third.kill()
    await load
    check(await look_until_complete(kafka), 3 * COUNT)
    first.ask_to_stop()
    assert await first.ended() == 0
    assert await committed_offsets(kafka) == {n: end for n, end in (await end_offsets(kafka)).items() if end}
