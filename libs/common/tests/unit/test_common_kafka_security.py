"""How a client proves itself to Kafka comes from the settings, and only from them."""

import ssl

import pytest
from pydantic import SecretStr

from metering_common.kafka.clients import _connection
from metering_common.service.settings import KafkaSettings

pytestmark = pytest.mark.fast

PLAIN = KafkaSettings(bootstrap_servers="localhost:1")
SECURE = KafkaSettings(
    bootstrap_servers="localhost:1",
    security_protocol="SASL_SSL",
    sasl_mechanism="SCRAM-SHA-512",
    sasl_username="metering",
    sasl_password=SecretStr("hush"),
)


def test_a_plain_connection_has_nothing_to_prove() -> None:
    assert not [name for name in _connection(PLAIN) if name.startswith(("sasl", "ssl"))]


def test_a_secure_one_has_its_user_and_checks_the_brokers_certificate() -> None:
    arguments = _connection(SECURE)
    assert arguments["security_protocol"] == "SASL_SSL"
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("metering", "hush")
    assert arguments["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    assert arguments["ssl_context"].check_hostname


def test_encryption_alone_sends_no_user() -> None:
    arguments = _connection(SECURE.model_copy(update={"security_protocol": "SSL"}))
    assert "ssl_context" in arguments
    assert not [name for name in arguments if name.startswith("sasl")]
