"""The relay against every way to die: nothing is lost, the order holds, and a sleeper does no harm when it wakes."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from auth_support import AuthClient

from metering_auth.adapters.postgres import owners
from metering_auth.adapters.postgres.documents import QUERIES, all_documents
from metering_auth.adapters.postgres.outbox import Lane, change, lane_of
from metering_auth.adapters.postgres.republish import republish
from metering_auth.adapters.postgres.revocation import RevocationInstant, wait_published
from metering_auth.domain.actor import Actor
from metering_common.contract import topics
from metering_common.kafka import clients
from metering_common.postgres.pool import TimedPool
from metering_common.registry.documents import Gateway, decode_document, document_key, encode_document
from metering_common.registry.replica import RegistryReplica
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings
from metering_local.testing import delete_topics

OPERATOR = Actor("operator", "test")
WAIT_SECONDS = 60
WAITING = "SELECT (SELECT count(*) FROM registry_outbox) + (SELECT count(*) FROM registry_again)"


async def topic_now(settings: KafkaSettings) -> tuple[list[tuple[str, bytes | None]], dict[str, bytes]]:
    """Every committed record in order, and the newest value per key."""
    consumer = clients.consumer(settings)
    await consumer.start()
    try:
        partition = TopicPartition(topics.REGISTRY, 0)
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        records: list[tuple[str, bytes | None]] = []
        while await consumer.position(partition) < end:
            for fetched in (await consumer.getmany(timeout_ms=200)).values():
                records += [(record.key.decode(), record.value) for record in fetched]
    finally:
        await consumer.stop()
    newest: dict[str, bytes] = {}
    for key, value in records:
        newest.pop(key, None)
        if value is not None:
            newest[key] = value
    return records, newest


async def tables_now(pool: TimedPool) -> dict[str, bytes]:
    async with pool.acquire() as connection, connection.transaction():
        return {document_key(each): encode_document(each) async for each in all_documents(connection)}


async def until_equal(pool: TimedPool, settings: KafkaSettings) -> None:
    """Topic and tables say the same, and nothing waits."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await pool.fetchval(WAITING):  # noqa: ASYNC110  as below
            await asyncio.sleep(0.1)
        while (await topic_now(settings))[1] != await tables_now(pool):  # noqa: ASYNC110  Kafka has no event for it
            await asyncio.sleep(0.2)


async def rename_often(pool: TimedPool, provider: int, times: int) -> Gateway:
    """One gateway is switched again and again: an even number of times, so it ends active."""
    async with pool.acquire() as connection:
        gateway = await owners.add_gateway(connection, OPERATOR, provider, "Edificio")
        for turn in range(times):
            gateway = await owners.set_gateway_active(connection, OPERATOR, gateway.id, active=turn % 2 == 1)
            await owners.add_gateway(connection, OPERATOR, provider, f"Otro {turn}")
    return gateway


async def add_provider(pool: TimedPool) -> int:
    async with pool.acquire() as connection:
        return (await owners.add_provider(connection, OPERATOR, "Uno")).id


def ids_in_order(records: list[tuple[str, bytes | None]]) -> list[int]:
    """Gateways in the order of their first appearance; ids are the order of the commits."""
    seen = dict.fromkeys(int(key.removeprefix("gateway:")) for key, _ in records if key.startswith("gateway:"))
    return list(seen)


async def test_killed_between_commit_and_publish_nothing_is_lost_and_the_order_holds(
    start_process: Callable[..., Any], pool: TimedPool, kafka: KafkaSettings
) -> None:
    """Four times: while changes are committed one after another, the only relay is killed with -9 and started again.

    The last change comes after the kill, so that something is always left to the next relay, on a quick machine too.
    """
    provider = await add_provider(pool)
    for pause in (0.05, 0.3, 0.6, 0.9):
        relay = start_process()
        changing = asyncio.create_task(rename_often(pool, provider, 60))
        await asyncio.sleep(pause)
        relay.signal(signal.SIGKILL)
        relay.process.wait()
        await changing
        async with pool.acquire() as connection:
            await owners.add_gateway(connection, OPERATOR, provider, "Último")
        assert await pool.fetchval(WAITING) > 0
    start_process()
    await until_equal(pool, kafka)
    records, _ = await topic_now(kafka)
    assert ids_in_order(records) == sorted(ids_in_order(records))
    assert len(ids_in_order(records)) == 4 * 62


async def test_a_relay_that_was_stopped_and_woken_publishes_no_more(
    start_process: Callable[..., Any], pool: TimedPool, kafka: KafkaSettings
) -> None:
    """SIGSTOP on the holder in the middle of its work; the other takes over after the lease; the sleeper wakes up."""
    provider = await add_provider(pool)
    first = start_process()
    await until_equal(pool, kafka)
    second = start_process()
    changing = asyncio.create_task(rename_often(pool, provider, 100))
    await asyncio.sleep(0.4)
    first.signal(signal.SIGSTOP)
    await changing
    last = await rename_often(pool, provider, 2)  # whatever the machine's speed, something is left to the other
    await until_equal(pool, kafka)
    assert "relay.lease_taken" in second.log.read_text()
    first.signal(signal.SIGCONT)
    async with pool.acquire() as connection:
        await owners.set_gateway_active(connection, OPERATOR, last.id, active=False)
    await until_shown(first, "metering_auth_registry_relaying 0.0")
    await until_equal(pool, kafka)
    records, newest = await topic_now(kafka)
    assert ids_in_order(records) == sorted(ids_in_order(records))
    document = decode_document(newest[f"gateway:{last.id}"])
    assert isinstance(document, Gateway)
    assert document.active is False
    await until_shown(second, "metering_auth_registry_relaying 1.0")


async def test_topic_and_tables_are_compared_at_take_over_daily_and_on_request(
    start_process: Callable[..., Any], pool: TimedPool, kafka: KafkaSettings, admin: Callable[..., Any]
) -> None:
    """A document that should not be there, one that is missing and one that says something else: each time mended."""
    provider = await add_provider(pool)
    gateway = await rename_often(pool, provider, 2)
    relay = start_process()
    await until_equal(pool, kafka)
    relay.stop()
    await spoil(kafka, provider, gateway.id)
    relay = start_process()
    await until_repaired(relay, 3)
    await until_equal(pool, kafka)
    await spoil(kafka, provider, gateway.id)
    await pool.execute("UPDATE registry_publication SET compared_at = compared_at - interval '25 hours'")
    await until_repaired(relay, 6)
    await until_equal(pool, kafka)
    await spoil(kafka, provider, gateway.id)
    admin("registry", "compare")
    await until_repaired(relay, 9)
    await until_equal(pool, kafka)


async def spoil(settings: KafkaSettings, provider: int, gateway: int) -> None:
    producer = clients.producer(settings)
    await producer.start()
    stale = encode_document(Gateway(id=gateway, provider=provider, name="falso"))
    for key, value in ((f"gateway:{gateway}", stale), ("gateway:9999", stale), (f"provider:{provider}", None)):
        await producer.send_and_wait(topics.REGISTRY, value, key.encode())
    await producer.stop()


async def until_repaired(relay: Any, documents: int) -> None:
    await until_shown(relay, f"metering_auth_registry_repaired_documents_total {documents}.0")


async def until_shown(process: Any, line: str) -> None:
    """One line of a process's metrics."""
    async with asyncio.timeout(WAIT_SECONDS):
        while line not in (await asyncio.to_thread(process.metrics)).splitlines():  # noqa: ASYNC110  polled
            await asyncio.sleep(0.1)


async def test_a_topic_recreated_gets_another_epoch_and_everything_again(
    start_process: Callable[..., Any], pool: TimedPool, kafka: KafkaSettings
) -> None:
    provider = await add_provider(pool)
    relay = start_process()
    await rename_often(pool, provider, 2)
    await until_equal(pool, kafka)
    epoch = await pool.fetchval("SELECT epoch FROM registry_publication")
    relay.stop()
    await delete_topics(kafka)
    await topics.apply(kafka)
    start_process()
    await until_equal(pool, kafka)
    assert await pool.fetchval("SELECT epoch FROM registry_publication") != epoch


async def test_everything_can_be_published_again_from_scratch(
    start_process: Callable[..., Any], pool: TimedPool, kafka: KafkaSettings, admin: Callable[..., Any]
) -> None:
    provider = await add_provider(pool)
    start_process()
    await rename_often(pool, provider, 2)
    await until_equal(pool, kafka)
    before, _ = await topic_now(kafka)
    epoch = await pool.fetchval("SELECT epoch FROM registry_publication")
    documents = admin("registry", "republish")["documents"]
    await until_equal(pool, kafka)
    after, newest = await topic_now(kafka)
    assert len(after) == len(before) + documents
    assert len(newest) == documents
    assert await pool.fetchval("SELECT epoch FROM registry_publication") == epoch
    async with RegistryReplica.open(kafka, SystemClock()) as replica, asyncio.timeout(WAIT_SECONDS):
        await replica.wait_ready()
        assert replica.registry.epoch == str(epoch)


@pytest.mark.fast
def test_lanes_part_what_revokes_from_what_is_many() -> None:
    assert {key: lane_of(key) for key in ("meta", "key:ab", "provider:1", "gateway:2", "sensor:3", "device:4")} == {
        "meta": Lane.ORDINARY,
        "key:ab": Lane.FIRST,
        "provider:1": Lane.FIRST,
        "gateway:2": Lane.FIRST,
        "sensor:3": Lane.ORDINARY,
        "device:4": Lane.ORDINARY,
    }


async def test_a_revocation_waits_for_no_import_no_comparison_and_no_republishing(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]], pool: TimedPool, kafka: KafkaSettings
) -> None:
    """Somebody takes a long file of devices in, and holds their lane. Meanwhile all is published again, what differs is
    mended, and a revocation is on the topic: none of them asks for that lane.
    """
    provider = await add_provider(pool)
    async with start_auth():
        gateway = await rename_often(pool, provider, 2)
        await until_equal(pool, kafka)
        async with (
            pool.acquire() as importing,
            pool.acquire() as connection,
            change(importing, Lane.ORDINARY),
        ):
            await importing.execute("SET idle_in_transaction_session_timeout = 0")
            await spoil(kafka, provider, gateway.id)
            await republish(connection)
            async with asyncio.timeout(WAIT_SECONDS):
                revoked = await owners.revoke_gateway(connection, OPERATOR, gateway.id, RevocationInstant())
                assert await wait_published(connection, document_key(revoked), WAIT_SECONDS)
            await until_equal(pool, kafka)
        _, newest = await topic_now(kafka)
    document = decode_document(newest[f"gateway:{gateway.id}"])
    assert isinstance(document, Gateway)
    assert document.revoked_at == revoked.revoked_at


async def test_what_is_published_again_is_never_older_than_what_changed_meanwhile(
    start_auth: Callable[..., AbstractAsyncContextManager[AuthClient]], pool: TimedPool, kafka: KafkaSettings
) -> None:
    """One gateway is switched all the time while it is published again and again: its record never goes back."""
    provider = await add_provider(pool)
    async with start_auth(), pool.acquire() as connection:
        gateway = await owners.add_gateway(connection, OPERATOR, provider, "0")
        for number in range(40):
            await connection.execute("UPDATE gateway SET name = $1 WHERE id = $2", str(number), gateway.id)
            await owners.set_gateway_active(connection, OPERATOR, gateway.id, active=number % 2 == 0)
            await connection.execute(QUERIES.ask_again, [f"gateway:{gateway.id}"] * 3)
        await until_equal(pool, kafka)
        records, _ = await topic_now(kafka)
    names = [
        int(document.name)
        for key, value in records
        if key == f"gateway:{gateway.id}" and value and isinstance(document := decode_document(value), Gateway)
    ]
    assert names == sorted(names)
    assert names[-1] == 39


async def test_republishing_asks_for_every_document_once_and_meta_last(pool: TimedPool) -> None:
    provider = await add_provider(pool)
    await rename_often(pool, provider, 2)
    async with pool.acquire() as connection:
        await connection.execute(QUERIES.new_epoch, uuid4())
        count = await republish(connection)
        asked = [row["key"] for row in await connection.fetch(QUERIES.next_again, 1_000)]
    assert len(asked) == count == len(set(asked))
    assert set(asked) == set(await tables_now(pool))
    assert asked[-1] == "meta"
