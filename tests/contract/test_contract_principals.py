"""The groups and transactional ids that the contracts open to a service are those that its code uses."""

import pytest

from metering_auth.adapters.kafka.relay import TRANSACTIONAL_ID
from metering_common.contract import topics
from metering_validator.settings import Settings
from metering_writer.bootstrap import GROUP

pytestmark = pytest.mark.fast

CONTRACTS = topics.load_contracts()


def test_the_contracts_name_the_groups_of_the_code() -> None:
    assert CONTRACTS[topics.RAW].groups == {"validator": Settings.model_fields["group_id"].default}
    assert CONTRACTS[topics.VALIDATED].groups == {"writer": GROUP}


def test_the_contracts_name_the_transactional_id_of_the_code() -> None:
    assert CONTRACTS[topics.REGISTRY].transactional_ids == {"auth": TRANSACTIONAL_ID}


def test_who_is_in_a_group_consumes_and_who_has_transactions_produces() -> None:
    for contract in CONTRACTS.values():
        assert contract.groups.keys() <= set(contract.consumers)
        assert contract.transactional_ids.keys() <= set(contract.producers)
