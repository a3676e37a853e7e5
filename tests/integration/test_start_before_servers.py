"""A service started before Kafka and PostgreSQL waits for both: alive, not ready, saying for what; then it serves."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from metering_common.contract import topics
from metering_common.service.settings import KafkaSettings
from metering_local.kafka import KafkaServer
from metering_local.postgres import PostgresServer
from metering_local.process import HOST
from metering_local.testing import FreshDatabase, kafka_settings
from tests.integration.jobs import make_databases
from tests.integration.started import PREFIXES, START_SECONDS, Started, started

DATABASES = {
    "auth": ("auth_service", "auth"),
    "writer": ("storage_writer", "storage"),
    "ecl-poller": ("ecl_service", "ecl"),
}


@dataclass(frozen=True)
class Servers:
    """Topics are made and databases migrated; both are to be started again."""

    kafka: KafkaServer
    postgres: PostgresServer

    def environment(self, name: str) -> dict[str, str]:
        prefix = PREFIXES[name]
        own = {"KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap, "KAFKA_ENVIRONMENT": "laptop"}
        if name in ("auth", "ingest-api"):
            own |= {f"{prefix}_HTTP_HOST": HOST, f"{prefix}_HTTP_PORT": "0"}
        if name in ("auth", "ecl-poller"):
            own[f"{prefix}_KEY_ENCRYPTION_KEY"] = secrets.token_urlsafe(32)
        if name == "auth":
            own["AUTH_PUBLIC_URL"] = f"http://{HOST}"
        if name in DATABASES:
            own[f"{prefix}_DATABASE_URL"] = self.postgres.dsn(*DATABASES[name])
        return own


@pytest.fixture
def away(own_kafka: KafkaServer, own_postgres: PostgresServer) -> Servers:
    asyncio.run(topics.apply(kafka_settings(own_kafka)))
    make_databases(lambda role, name: f"{own_postgres.dsn(role, name)}?sslmode=disable")
    own_kafka.stop()
    own_postgres.stop()
    return Servers(own_kafka, own_postgres)


def test_services_wait_for_kafka_and_their_databases_and_then_serve(away: Servers, tmp_path: Path) -> None:
    with ExitStack() as stack:

        def start(name: str) -> Started:
            return stack.enter_context(started(name, tmp_path, away.environment(name)))

        services = {name: start(name) for name in PREFIXES}
        for name, service in services.items():
            missing = ("database", "refused") if name == "auth" else ("kafka", f"not answer at {away.kafka.bootstrap}")
            service.until(waits_for(*missing))
            check_alive_and_not_ready(service)
        assert services["ingest-api"].end() == 0
        services["ingest-api"] = start("ingest-api")
        away.kafka.restart()
        for name, service in services.items():
            service.until(waits_for("database", "refused") if name in DATABASES else reads_the_registry)
            check_alive_and_not_ready(service)
        assert services["auth"].end() == 0
        services["auth"] = start("auth")
        away.postgres.restart()
        for service in services.values():
            service.until(lambda service: service.ask("/readyz")[0] == 200)
        for name in ("validator", "writer", "ecl-poller"):
            check_said_once_each(services[name], ["kafka", *(["database"] if name in DATABASES else [])])


def test_auth_serves_without_kafka_and_publishes_when_it_is_there(away: Servers, tmp_path: Path) -> None:
    away.postgres.restart()
    environment = away.environment("auth")
    with started("auth", tmp_path, environment) as auth:
        auth.until(lambda auth: auth.ask("/readyz")[0] == 200)
        assert auth.end() == 0
    with started("auth", tmp_path, environment) as auth:
        auth.until(lambda auth: auth.ask("/readyz")[0] == 200)
        auth.until(lambda auth: [line["waiting_for"] for line in auth.told("start.waiting")] == ["kafka"])
        assert "\nmetering_auth_registry_relaying 0.0\n" in auth.ask("/metrics")[1]
        away.kafka.restart()
        auth.until(lambda auth: "\nmetering_auth_registry_relaying 1.0\n" in auth.ask("/metrics")[1])
        assert auth.ask("/readyz")[0] == 200
        assert len(auth.told("start.goes_on")) == 1
    error = why_it_ended("auth", environment | {"KAFKA_ENVIRONMENT": "production"}, tmp_path)
    assert error.startswith("TopicContractError: registry.v1: replication is 1, at least 3 is demanded in production")


def test_a_topic_weaker_than_its_contract_ends_the_start(kafka: KafkaSettings, tmp_path: Path) -> None:
    environment = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "KAFKA_ENVIRONMENT": "production"}
    assert "replication is 1, at least 3 is demanded in production" in why_it_ended("validator", environment, tmp_path)


def test_a_wrong_password_ends_the_start(kafka: KafkaSettings, database: FreshDatabase, tmp_path: Path) -> None:
    environment = writer_environment(kafka, database, wrong="guess")
    error = why_it_ended("writer", environment, tmp_path)
    assert error == 'InvalidPasswordError: password authentication failed for user "storage_writer"'


def test_missing_migrations_are_told(kafka: KafkaSettings, database: FreshDatabase, tmp_path: Path) -> None:
    with started("writer", tmp_path, writer_environment(kafka, database)) as service:
        service.until(waits_for("database", 'UndefinedTableError: relation "consumer_offset" does not exist'))


def writer_environment(kafka: KafkaSettings, database: FreshDatabase, wrong: str = "") -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA_ENVIRONMENT": "laptop",
        "WRITER_DATABASE_URL": database.dsn_for("storage_writer").get_secret_value().replace("@", f"{wrong}@"),
    }


def waits_for(name: str, reason: str) -> Callable[[Started], bool]:
    return lambda service: reason in (service.reasons() or {}).get(name, "")


def reads_the_registry(service: Started) -> bool:
    """It has found Kafka, and in it no registry yet: that is auth's to write."""
    return "registry" in (service.reasons() or {})


def check_alive_and_not_ready(service: Started) -> None:
    assert service.ask("/healthz") == (200, "ok\n")
    assert service.ask("/readyz")[0] == 503
    assert "\nmetering_ready 0.0\n" in service.ask("/metrics")[1]


def check_said_once_each(service: Started, waited: list[str]) -> None:
    """One line per reason: a PostgreSQL that refuses connections may next say that it is starting up."""
    told = [(line["waiting_for"], line["reason"]) for line in service.told("start.waiting")]
    assert list(dict.fromkeys(name for name, _ in told)) == waited
    assert len(told) == len(set(told))
    assert [line["waited_for"] for line in service.told("start.goes_on")] == waited


def why_it_ended(name: str, environment: dict[str, str], folder: Path) -> str:
    with started(name, folder, environment) as service:
        assert service.process.wait(START_SECONDS) == 1
        [line] = service.told("service.failed")
        return str(line["error"])
