"""`metering-topics` against a broker: makes, strengthens, never weakens, and tells what it cannot mend."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError

from metering_common.contract import topics
from metering_common.contract.topics import TopicContractError
from metering_common.kafka import clients as kafka_clients
from metering_common.kafka import topics_cli
from metering_common.service.retry import RetryPolicy
from metering_common.service.settings import KafkaSettings


@asynccontextmanager
async def admin_of(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = kafka_clients.admin_client(settings)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def set_configs(settings: KafkaSettings, topic: str, **configs: str) -> None:
    changed = {name.replace("_", "."): value for name, value in configs.items()}
    async with admin_of(settings) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, changed)])


async def configs_of(settings: KafkaSettings, topic: str) -> dict[str, str]:
    async with admin_of(settings) as admin:
        [response] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        return {entry[0]: entry[1] for entry in response.resources[0][4]}


async def test_topics_made_from_their_contracts_hold_them(kafka: KafkaSettings) -> None:
    await topics.check_topics(kafka, topics.load_contracts())
    applied = await topics.apply(kafka)
    assert {one.action for one in applied} == {"unchanged"}
    assert not [fault for one in applied for fault in one.faults]


async def test_a_missing_topic_is_told_and_made(kafka: KafkaSettings) -> None:
    async with admin_of(kafka) as admin:
        await admin.delete_topics([topics.DEAD])
    with pytest.raises(TopicContractError) as refusal:
        await topics.check_topics(kafka, [topics.RAW, topics.DEAD])
    assert refusal.value.faults == [f"{topics.DEAD} is missing"]
    actions = {one.topic: one.action for one in await topics.apply(kafka)}
    assert actions.pop(topics.DEAD) == "created"
    assert set(actions.values()) == {"unchanged"}
    await topics.check_topics(kafka, [topics.DEAD])


async def test_a_topic_that_is_just_being_made_is_not_missing(kafka: KafkaSettings) -> None:
    async with admin_of(kafka) as admin:
        await admin.delete_topics([topics.DEAD])
    asked = asyncio.create_task(topics.check_topics(kafka, [topics.DEAD]))
    await asyncio.sleep(0.5)
    assert not asked.done()
    await topics.apply(kafka)
    await asked


async def test_what_is_weaker_is_strengthened_and_what_is_stronger_stays(kafka: KafkaSettings) -> None:
    await set_configs(kafka, topics.RAW, retention_ms="1000", max_message_bytes="5000000", segment_ms="3600000")
    with pytest.raises(TopicContractError, match=r"retention\.ms is 1000, at least 2592000000"):
        await topics.check_topics(kafka, [topics.RAW])
    actions = {one.topic: one.action for one in await topics.apply(kafka)}
    assert actions[topics.RAW] == "changed"
    configs = await configs_of(kafka, topics.RAW)
    assert configs["retention.ms"] == "2592000000"
    assert configs["max.message.bytes"] == "5000000"
    assert configs["segment.ms"] == "3600000", "what the contract does not speak of stays"


async def test_partitions_are_added(kafka: KafkaSettings) -> None:
    async with admin_of(kafka) as admin:
        await admin.delete_topics([topics.ECL_ANSWERS])
        await admin.create_topics([NewTopic(topics.ECL_ANSWERS, 1, 1)])
        while topics.ECL_ANSWERS not in await admin.list_topics():  # noqa: ASYNC110  Kafka has no event for it
            await asyncio.sleep(0.02)
    with pytest.raises(TopicContractError, match="partitions is 1, at least 3"):
        await topics.check_topics(kafka, [topics.ECL_ANSWERS])
    await topics.apply(kafka)
    await topics.check_topics(kafka, [topics.ECL_ANSWERS])


async def test_replication_that_is_too_low_is_told(kafka: KafkaSettings) -> None:
    production = kafka.model_copy(update={"environment": "production"})
    with pytest.raises(TopicContractError, match="replication is 1, at least 3 is demanded in production"):
        await topics.check_topics(production, [topics.REGISTRY])


async def test_a_kafka_that_is_away_is_told_after_some_retry() -> None:
    away = KafkaSettings(bootstrap_servers="127.0.0.1:1", environment="laptop")
    with pytest.raises(KafkaConnectionError, match=r"Kafka does not answer at 127\.0\.0\.1:1"):
        await topics.check_topics(away, [topics.RAW], RetryPolicy(0))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = topics_cli.main(arguments)
    output = capsys.readouterr()
    return status, output.out, output.err


def test_the_command_tells_programs_and_people(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    status, out, err = run(capsys, "check", "--environment", "laptop")
    assert (status, err) == (0, "")
    assert f"{topics.RAW}: checked" in out
    status, out, err = run(capsys, "check", "--environment", "production")
    assert status == 1
    assert f"{topics.RAW}: replication is 1, at least 3 is demanded in production\n" in err
    status, out, _ = run(capsys, "apply", "--environment", "laptop", "--json")
    assert status == 0
    assert {"topic": topics.RAW, "action": "unchanged", "faults": []} in json.loads(out)
