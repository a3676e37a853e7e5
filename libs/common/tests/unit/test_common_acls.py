"""The ACLs say what the contracts say, for one principal per service and no more."""

import json

import pytest

from metering_common.contract.topics import load_contracts
from metering_common.kafka import acls, topics_cli
from metering_common.kafka.acls import Acl, contract_acls, kafka_acls_commands, needed_acls

pytestmark = pytest.mark.fast


def of(principal: str) -> set[tuple[str, str, str]]:
    """Without what is for the check at the start."""
    return {acl[1:] for acl in contract_acls() if acl.principal == principal and acl.operation != "DescribeConfigs"}


def test_each_service_may_do_what_the_contracts_say_and_nothing_else() -> None:
    assert of("ingest-api") == {
        ("topic", "measurements.raw.v1", "Write"),
        ("topic", "measurements.outcomes.v1", "Read"),
        ("topic", "registry.v1", "Read"),
    }
    assert of("validator") == {
        ("topic", "measurements.raw.v1", "Read"),
        ("group", "validator", "Read"),
        ("topic", "measurements.validated.v1", "Write"),
        ("topic", "measurements.outcomes.v1", "Write"),
        ("topic", "measurements.dead.v1", "Write"),
        ("topic", "registry.v1", "Read"),
    }
    assert of("auth") == {
        ("topic", "registry.v1", "Read"),
        ("topic", "registry.v1", "Write"),
        ("transactional-id", "auth-registry-relay", "Write"),
    }


def test_only_auth_writes_the_registry_and_nobody_has_the_cluster() -> None:
    assert {acl.principal for acl in contract_acls() if acl.name == "registry.v1" and acl.operation == "Write"} == {
        "auth"
    }
    assert {acl.resource for acl in contract_acls()} == {"topic", "group", "transactional-id"}


def test_the_topics_tool_and_the_autoscaler_read_no_record() -> None:
    for principal in (acls.TOPICS_TOOL, acls.AUTOSCALER):
        assert not {operation for _, _, operation in of(principal)} & {"Read", "Write"}


def test_every_service_of_a_contract_may_check_its_topic() -> None:
    for contract in load_contracts().values():
        checking = {acl.principal for acl in needed_acls([contract]) if acl.operation == "DescribeConfigs"}
        assert checking == {*contract.producers, *contract.consumers}


def test_one_line_for_kafkas_tool_per_principal_and_resource() -> None:
    two = [Acl("writer", "topic", "t", "DescribeConfigs"), Acl("writer", "topic", "t", "Read")]
    [line] = kafka_acls_commands(two)
    assert line.endswith(" --add --allow-principal User:writer --operation DescribeConfigs --operation Read --topic t")


def test_the_tool_prints_them_without_asking_kafka(capsys: pytest.CaptureFixture[str]) -> None:
    assert topics_cli.main(["acls", "--json", "--prefix", "metering-"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [Acl(**each) for each in printed] == contract_acls("metering-")
    assert topics_cli.main(["acls"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(list(kafka_acls_commands(contract_acls())))
