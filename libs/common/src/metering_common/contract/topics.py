"""The topics a measure travels on: made from and held against contracts/topics/*.yaml, in every environment."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Literal

import msgspec
import yaml
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidReplicationFactorError, KafkaError, UnknownTopicOrPartitionError, for_code

from metering_common.kafka import clients as kafka
from metering_common.service.retry import RetryPolicy
from metering_common.service.settings import KafkaSettings

RAW = "measurements.raw.v1"
VALIDATED = "measurements.validated.v1"
OUTCOMES = "measurements.outcomes.v1"
DEAD = "measurements.dead.v1"
REGISTRY = "registry.v1"
ECL_ANSWERS = "ecl.answers.v1"

BROKERS_SECONDS = 30.0
AGREE_SECONDS = 3.0
_DAY_MS = 86_400_000
_TOPIC_OVERRIDE = 1  # config_source of DescribeConfigs: set on the topic itself

Configs = dict[str, str]


class TopicContractError(Exception):
    """A topic is missing or weaker than its contract; `faults` has a sentence for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Sizing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How large a topic is at least, in one environment."""

    partitions: int
    replication: int
    min_in_sync: int


class TopicContract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of contracts/topics."""

    topic: str
    description: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    key: str
    value: str
    schema: str
    headers: str
    cleanup: Literal["delete", "compact"]
    retention_days: int | None
    """None: for ever."""
    max_message_bytes: int
    environments: dict[str, Sizing]
    groups: dict[str, str] = {}
    """The consumer group of each consumer that is in one."""
    transactional_ids: dict[str, str] = {}
    """Of each producer that writes in transactions."""

    def configs(self, environment: str) -> Configs:
        """Kafka's topic configuration."""
        retention = -1 if self.retention_days is None else self.retention_days * _DAY_MS
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(retention),
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": str(self.environments[environment].min_in_sync),
        }


class Topic(msgspec.Struct, frozen=True):
    """A topic as the cluster has it; `overrides` are the configs set on the topic itself."""

    partitions: int
    replication: int
    configs: Configs
    overrides: Configs


class Applied(msgspec.Struct, frozen=True):
    """What `apply` did to one topic, or that it was only checked; `faults` are left."""

    topic: str
    action: Literal["created", "changed", "unchanged", "checked"]
    faults: list[str]


def load_contracts() -> dict[str, TopicContract]:
    """All contracts by topic name, from the contracts folder that is part of this package."""
    folder = files("metering_common") / "contracts" / "topics"
    texts = [file.read_text("utf-8") for file in folder.iterdir() if file.name.endswith(".yaml")]
    contracts = [msgspec.convert(yaml.safe_load(text), TopicContract) for text in texts]
    return {contract.topic: contract for contract in sorted(contracts, key=lambda contract: contract.topic)}


async def check_topics(settings: KafkaSettings, names: Iterable[str], retry: RetryPolicy | None = None) -> None:
    """Raises `TopicContractError`; a Kafka that is away is waited for as `retry` says."""
    contracts = load_contracts()
    wanted = {name: contracts[name] for name in names}
    await (retry or RetryPolicy()).until(lambda: _hold_to(settings, wanted), (KafkaError, OSError))


@asynccontextmanager
async def checked(settings: KafkaSettings, names: Iterable[str], retry: RetryPolicy) -> AsyncIterator[None]:
    """`check_topics`, for a line among what a bootstrap opens: behind the admin port, before what uses the topics."""
    await check_topics(settings, names, retry)
    yield


async def apply(settings: KafkaSettings) -> list[Applied]:
    """Creates what is missing and strengthens what is weaker; never takes away what is stronger.

    Replication cannot be raised here: it comes back as a fault.
    """
    contracts = load_contracts()
    async with open_admin(settings) as admin:
        before = await _describe(admin, contracts)
        actions = {
            name: await _apply_one(admin, contract, settings.environment, before.get(name))
            for name, contract in contracts.items()
        }
        after = await _describe_all(admin, contracts, settings.environment)
    return [
        Applied(name, actions[name], find_faults(contract, settings.environment, after.get(name)))
        for name, contract in contracts.items()
    ]


def find_faults(contract: TopicContract, environment: str, topic: Topic | None) -> list[str]:
    """A sentence for each thing in which the topic is weaker than its contract."""
    if topic is None:
        return [f"{contract.topic} is missing"]
    sizing = contract.environments[environment]
    counts = {
        "partitions": (topic.partitions, sizing.partitions),
        "replication": (topic.replication, sizing.replication),
    }
    faults = [f"{what} is {has}, at least {wanted}" for what, (has, wanted) in counts.items() if has < wanted]
    faults += [
        f"{name} is {topic.configs.get(name)}, at least {wanted}"
        for name, wanted in weaker_configs(contract.configs(environment), topic.configs).items()
    ]
    return [f"{contract.topic}: {fault} is demanded in {environment}" for fault in faults]


def weaker_configs(wanted: Configs, has: Configs) -> Configs:
    """Those wanted configs that the topic does not reach; -1 is without limit; a cleanup policy must be equal."""
    return {name: value for name, value in wanted.items() if not _reaches(name, has.get(name), value)}


def _reaches(name: str, has: str | None, wanted: str) -> bool:
    if has is None or name == "cleanup.policy":
        return has == wanted
    return has == "-1" or (wanted != "-1" and int(has) >= int(wanted))


async def _apply_one(
    admin: AIOKafkaAdminClient, contract: TopicContract, environment: str, topic: Topic | None
) -> Literal["created", "changed", "unchanged"]:
    if topic is None:
        await _create(admin, contract, environment)
        return "created"
    sizing, changed = contract.environments[environment], False
    if topic.partitions < sizing.partitions:
        await admin.create_partitions({contract.topic: NewPartitions(sizing.partitions)})
        changed = True
    if weaker := weaker_configs(contract.configs(environment), topic.configs):
        resource = ConfigResource(ConfigResourceType.TOPIC, contract.topic, topic.overrides | weaker)
        for response in await admin.alter_configs([resource]):
            _raise_for([(error, message) for error, message, *_ in response.resources])
        changed = True
    return "changed" if changed else "unchanged"


async def _create(admin: AIOKafkaAdminClient, contract: TopicContract, environment: str) -> None:
    """Waits for as many brokers as it is to be on: of a cluster that starts, one may answer before the others."""
    sizing = contract.environments[environment]
    topic = NewTopic(contract.topic, sizing.partitions, sizing.replication, topic_configs=contract.configs(environment))
    give_up_at = asyncio.get_running_loop().time() + BROKERS_SECONDS
    while True:
        response = await admin.create_topics([topic])
        try:
            _raise_for([(error, message) for _, error, message, *_ in response.topic_errors])
        except InvalidReplicationFactorError:
            if asyncio.get_running_loop().time() >= give_up_at:
                raise
            await asyncio.sleep(0.5)
        else:
            return


def _raise_for(errors: list[tuple[int, str | None]]) -> None:
    for code, message in errors:
        if code:
            raise for_code(code)(message)


async def _describe_all(
    admin: AIOKafkaAdminClient, contracts: dict[str, TopicContract], environment: str
) -> dict[str, Topic]:
    """A topic or partition just made is not at once in every broker's metadata: waits up to BROKERS_SECONDS."""
    wanted = {name: contract.environments[environment].partitions for name, contract in contracts.items()}
    give_up_at = asyncio.get_running_loop().time() + BROKERS_SECONDS
    while True:
        found = await _describe(admin, wanted)
        complete = all(name in found and found[name].partitions >= count for name, count in wanted.items())
        if complete or asyncio.get_running_loop().time() >= give_up_at:
            return found
        await asyncio.sleep(0.2)


async def _describe(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, Topic]:
    """Those of the topics that exist, as far as the brokers know that were asked: each request may go to another."""
    described = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
    existing = [name for name in names if described.get(name)]
    if not existing:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in existing]
    topics = {}
    for response in await admin.describe_configs(resources):
        for code, _message, _kind, name, entries in response.resources:
            if code == UnknownTopicOrPartitionError.errno:
                continue
            partitions = described[name]
            topics[name] = Topic(
                partitions=len(partitions),
                replication=min(len(partition["replicas"]) for partition in partitions),
                configs={entry[0]: entry[1] for entry in entries},
                overrides={entry[0]: entry[1] for entry in entries if entry[3] == _TOPIC_OVERRIDE},
            )
    return topics


async def _hold_to(settings: KafkaSettings, wanted: dict[str, TopicContract]) -> None:
    """Brokers learn of a new topic one after the other: a fault is trusted that is still told after AGREE_SECONDS."""
    admin = await _start_admin(settings)
    try:
        give_up_at = asyncio.get_running_loop().time() + AGREE_SECONDS
        while faults := await _faults(admin, wanted, settings):
            if asyncio.get_running_loop().time() >= give_up_at:
                raise TopicContractError(faults)
            await asyncio.sleep(0.2)
    finally:
        await admin.close()


async def _faults(admin: AIOKafkaAdminClient, wanted: dict[str, TopicContract], settings: KafkaSettings) -> list[str]:
    found = await _describe(admin, wanted)
    faults = [
        fault
        for name, contract in wanted.items()
        for fault in find_faults(contract, settings.environment, found.get(name))
    ]
    if settings.sasl_username is not None and found.keys() < wanted.keys():
        faults.append(f"asked as {settings.sasl_username}, from whom Kafka hides topics that no ACL opens to it")
    return faults


@asynccontextmanager
async def open_admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Started; a Kafka that is away or refuses is asked again for a tool's retry, then its error is raised."""
    admin = await RetryPolicy().until(lambda: _start_admin(settings), (KafkaError, OSError))
    try:
        yield admin
    finally:
        await admin.close()


async def _start_admin(settings: KafkaSettings) -> AIOKafkaAdminClient:
    """Only of a Kafka that answers and names a broker: one that has just woken names none."""
    await kafka.reach(settings)
    admin = kafka.admin_client(settings)
    try:
        await admin.start()
        await admin.describe_topics()
    except BaseException:
        await admin.close()
        raise
    return admin
