"""What a topic must be, and what weaker means."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from metering_common.contract import topics
from metering_common.contract.topics import Sizing, Topic, TopicContract, find_faults

pytestmark = pytest.mark.fast

CONTRACT = TopicContract(
    topic="t",
    description="d",
    producers=("a",),
    consumers=("b",),
    key="k",
    value="v",
    schema="none",
    headers="none",
    cleanup="delete",
    retention_days=7,
    max_message_bytes=1_000,
    environments={"production": Sizing(48, 3, 2), "laptop": Sizing(12, 1, 1)},
)
GOOD = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "max.message.bytes": "1000",
    "min.insync.replicas": "2",
}


def faults(partitions: int = 48, replication: int = 3, **configs: str) -> list[str]:
    changed = {name.replace("_", "."): value for name, value in configs.items()}
    return find_faults(CONTRACT, "production", Topic(partitions, replication, GOOD | changed, {}))


def test_every_topic_has_its_contract() -> None:
    names = {topics.RAW, topics.VALIDATED, topics.OUTCOMES, topics.DEAD, topics.REGISTRY, topics.ECL_ANSWERS}
    assert set(topics.load_contracts()) == names


def test_a_topic_as_agreed_or_stronger_has_no_fault() -> None:
    assert faults() == []
    assert faults(96, 5, retention_ms="-1", max_message_bytes="2000", min_insync_replicas="3") == []


@pytest.mark.parametrize(
    ("weaker", "fault"),
    [
        ({"partitions": 47}, "partitions is 47, at least 48"),
        ({"replication": 2}, "replication is 2, at least 3"),
        ({"min_insync_replicas": "1"}, "min.insync.replicas is 1, at least 2"),
        ({"retention_ms": "604799999"}, "retention.ms is 604799999, at least 604800000"),
        ({"max_message_bytes": "999"}, "max.message.bytes is 999, at least 1000"),
        ({"cleanup_policy": "compact"}, "cleanup.policy is compact, at least delete"),
    ],
)
def test_a_weaker_topic_is_told_in_a_sentence(weaker: dict[str, int | str], fault: str) -> None:
    assert faults(**weaker) == [f"t: {fault} is demanded in production"]  # type: ignore[arg-type]  # of two kinds on purpose


def test_a_missing_topic_is_told() -> None:
    assert find_faults(CONTRACT, "production", None) == ["t is missing"]


def test_for_ever_is_reached_by_for_ever_only() -> None:
    assert topics.weaker_configs({"retention.ms": "-1"}, {"retention.ms": "999999999999"}) == {"retention.ms": "-1"}
    assert topics.weaker_configs({"retention.ms": "-1"}, {"retention.ms": "-1"}) == {}


class LateBrokers:
    """An admin client's two questions, of brokers of which the second knows a new topic later than the first."""

    def __init__(self, late_answers: int) -> None:
        self._late_answers = late_answers

    async def describe_topics(self) -> list[dict[str, Any]]:
        return [{"topic": "t", "partitions": [{"replicas": [1, 2, 3]}] * 48}]

    async def describe_configs(self, _resources: object) -> list[SimpleNamespace]:
        if self._late_answers:
            self._late_answers -= 1
            return [SimpleNamespace(resources=[(UnknownTopicOrPartitionError.errno, "", 2, "t", [])])]
        entries = [(name, value, False, 1) for name, value in GOOD.items()]
        return [SimpleNamespace(resources=[(0, None, 2, "t", entries)])]


async def test_a_topic_just_made_is_validated_when_every_broker_that_is_asked_knows_it() -> None:
    found = await topics._describe_all(cast("Any", LateBrokers(late_answers=2)), {"t": CONTRACT}, "production")
    assert find_faults(CONTRACT, "production", found["t"]) == []
