"""Who may do what in Kafka: one principal per service, and for each exactly what contracts/topics say that it does."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Literal, NamedTuple

from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateAclsRequest, DescribeAclsRequest

from metering_common.contract.topics import TopicContract, load_contracts, open_admin
from metering_common.service.settings import KafkaSettings

Resource = Literal["topic", "group", "transactional-id"]
Operation = Literal["Read", "Write", "Create", "Alter", "Describe", "DescribeConfigs", "AlterConfigs"]

TOPICS_TOOL = "topics"
"""The principal of `metering-topics apply`: it makes topics and may read none."""
AUTOSCALER = "autoscaler"
"""Who watches how far the consumer groups are behind (KEDA, a lag exporter)."""

_RESOURCES: dict[Resource, int] = {"topic": 2, "group": 3, "transactional-id": 5}
_OPERATIONS: dict[Operation, int] = {
    "Read": 3,
    "Write": 4,
    "Create": 5,
    "Alter": 7,
    "Describe": 8,
    "DescribeConfigs": 10,
    "AlterConfigs": 11,
}
_ANY, _LITERAL, _ALLOW, _EVERY_HOST = 1, 3, 3, "*"


class Acl(NamedTuple):
    """`principal` may do `operation` on the one resource of this name; whatever no ACL allows is refused."""

    principal: str
    resource: Resource
    name: str
    operation: Operation


def needed_acls(contracts: Iterable[TopicContract], prefix: str = "") -> list[Acl]:
    """Sorted. Read and Write include Describe; DescribeConfigs is for the check at each service's start.

    No principal needs IdempotentWrite on the cluster: who may write to a topic may do so idempotently (KIP-679).
    """
    acls = {acl for contract in contracts for acl in _of_topic(contract)}
    return sorted(acl._replace(principal=f"{prefix}{acl.principal}") for acl in acls)


def kafka_acls_commands(acls: Iterable[Acl]) -> Iterator[str]:
    """The same for Kafka's own tool, a line for each principal and resource."""
    for (principal, resource, name), group in groupby(acls, lambda acl: acl[:3]):
        operations = " ".join(f"--operation {acl.operation}" for acl in group)
        yield (
            'kafka-acls.sh --bootstrap-server "$KAFKA_BOOTSTRAP_SERVERS" --command-config "$KAFKA_ADMIN_PROPERTIES"'
            f" --add --allow-principal User:{principal} {operations} --{resource} {name}"
        )


async def apply_acls(settings: KafkaSettings, acls: list[Acl]) -> list[Acl]:
    """Creates what is missing, and gives what these principals may do beyond it, which a person has to decide.

    Takes Alter and Describe on the cluster. aiokafka has the messages for it and no public call.
    """
    async with open_admin(settings) as admin:
        for acl in acls:
            answer = await admin._send_to_controller(CreateAclsRequest(*_as_numbers(acl)))  # noqa: SLF001  see above
            for code, message in answer.creation_responses:
                if code:
                    raise for_code(code)(message)
        found = await admin._send_to_controller(DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY))  # noqa: SLF001  as above
    if found.error_code:
        raise for_code(found.error_code)(found.error_message)
    principals = {acl.principal for acl in acls}
    return sorted(acl for acl in _as_acls(found.resources) if acl.principal in principals and acl not in acls)


def _of_topic(contract: TopicContract) -> Iterator[Acl]:
    topic = contract.topic
    for service in contract.producers:
        yield Acl(service, "topic", topic, "Write")
        yield Acl(service, "topic", topic, "DescribeConfigs")
    for service in contract.consumers:
        yield Acl(service, "topic", topic, "Read")
        yield Acl(service, "topic", topic, "DescribeConfigs")
    for service, group in contract.groups.items():
        yield Acl(service, "group", group, "Read")
        yield Acl(AUTOSCALER, "group", group, "Describe")
        yield Acl(AUTOSCALER, "topic", topic, "Describe")
    for service, transactional_id in contract.transactional_ids.items():
        yield Acl(service, "transactional-id", transactional_id, "Write")
    yield Acl(TOPICS_TOOL, "topic", topic, "Create")
    yield Acl(TOPICS_TOOL, "topic", topic, "Alter")
    yield Acl(TOPICS_TOOL, "topic", topic, "AlterConfigs")


def _as_numbers(acl: Acl) -> tuple[int, str, int, str, str, int, int]:
    resource, operation = _RESOURCES[acl.resource], _OPERATIONS[acl.operation]
    return resource, acl.name, _LITERAL, f"User:{acl.principal}", _EVERY_HOST, operation, _ALLOW


def _as_acls(resources: Iterable[tuple[int, str, int, list[tuple[str, str, int, int]]]]) -> Iterator[Acl]:
    """Also what these contracts never ask for; it is shown with Kafka's own number where they have no name for it."""
    kinds = {number: name for name, number in _RESOURCES.items()}
    operations = {number: name for name, number in _OPERATIONS.items()}
    for kind, name, pattern, acls in resources:
        shown = name if pattern == _LITERAL else f"{name} (pattern type {pattern})"
        for principal, _host, operation, permission in acls:
            if permission == _ALLOW:
                yield Acl(
                    principal.removeprefix("User:"),
                    kinds.get(kind, f"resource type {kind}"),  # type: ignore[arg-type]  # see the docstring
                    shown,
                    operations.get(operation, f"operation {operation}"),  # type: ignore[arg-type]  # as above
                )


def contract_acls(prefix: str = "") -> list[Acl]:
    """Those of all topics of this release."""
    return needed_acls(load_contracts().values(), prefix)
