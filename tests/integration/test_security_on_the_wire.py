"""Kafka and PostgreSQL with their locks on: each service works, and none can do what it need not."""

import json
import ssl
import time
from pathlib import Path

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from pydantic import SecretStr

from metering_common.contract import topics
from metering_common.kafka import clients as kafka
from metering_common.service.retry import RefusedError
from metering_common.service.settings import KafkaSettings
from metering_jobs.databases import DATABASES, ROLES
from metering_local.authority import Authority
from metering_local.kafka_security import ADMIN
from metering_local.process import HOST
from tests.integration import kafka_attempts as attempt
from tests.integration.measures import eventually, ledger, send, sql
from tests.integration.otlp_collector import Collector, Span
from tests.integration.secured_platform import SERVICES, SecuredPlatform
from tests.integration.site import Site

pytestmark = pytest.mark.wire

CONTRACTS = topics.load_contracts()
DENIED = "TopicAuthorizationFailedError"


async def test_a_measure_passes_the_whole_way(secured: SecuredPlatform, site: Site) -> None:
    batch = await send(secured, site, int(time.time()) - 60)
    assert await ledger(secured, batch) == 1


@pytest.mark.usefixtures("site")
async def test_the_pollers_values_pass_it_too(secured: SecuredPlatform) -> None:
    query = "SELECT coalesce(sum(written), 0)::int FROM ingest_batch WHERE source = 'ecl'"
    assert await eventually(lambda: sql(secured, "storage_reader", "storage", query), lambda written: written > 0)


def strangers(secured: SecuredPlatform) -> dict[str, KafkaSettings]:
    right = secured.kafka_settings
    plain = {"sasl_mechanism": None, "sasl_username": None, "sasl_password": None}
    return {
        "unknown user": right("nobody"),
        "wrong password": right("writer", sasl_password=SecretStr("a guess")),
        "no TLS and no user": right("writer", security_protocol="PLAINTEXT", ssl_cafile=None, **plain),
        "no TLS": right("writer", security_protocol="SASL_PLAINTEXT", ssl_cafile=None),
        "TLS and no user": right("writer", security_protocol="SSL", **plain),
        "an authority that did not sign": right("writer", ssl_cafile=None),
    }


async def test_kafka_lets_no_stranger_in(secured: SecuredPlatform) -> None:
    came = {who: await attempt.outcome(attempt.connect(each)) for who, each in strangers(secured).items()}
    assert came == dict.fromkeys(came, KafkaConnectionError.__name__)
    assert await attempt.outcome(attempt.connect(secured.kafka_settings("writer"))) is None


async def test_a_start_tells_a_kafka_that_refuses_from_one_that_is_away(secured: SecuredPlatform) -> None:
    refused = ("unknown user", "wrong password", "an authority that did not sign")
    for who in refused:
        with pytest.raises(RefusedError, match="Kafka does not let us in"):
            await kafka.reach(strangers(secured)[who])
    with pytest.raises(KafkaConnectionError, match="does not answer"):
        await kafka.reach(secured.kafka_settings("writer", bootstrap_servers=f"{HOST}:1"))
    await kafka.reach(secured.kafka_settings("writer"))


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_and_writes_no_topic_but_its_own(secured: SecuredPlatform, service: str) -> None:
    settings = secured.kafka_settings(service)
    foreign = {name for name, contract in CONTRACTS.items() if service not in contract.producers}
    secret = {name for name, contract in CONTRACTS.items() if service not in contract.consumers}
    written = {name: await attempt.outcome(attempt.write(settings, name)) for name in foreign}
    read = {name: await attempt.outcome(attempt.read(settings, name)) for name in secret}
    assert (written, read) == (dict.fromkeys(foreign, DENIED), dict.fromkeys(secret, DENIED))
    assert service == "auth" or topics.REGISTRY in foreign
    assert service != "ingest-api" or topics.RAW in secret


async def test_groups_and_transactions_are_their_owners_only(secured: SecuredPlatform) -> None:
    validator, writer = secured.kafka_settings("validator"), secured.kafka_settings("writer")
    joined = attempt.join(validator, topics.RAW, "writer"), attempt.join(writer, topics.VALIDATED, "validator")
    assert [await attempt.outcome(each) for each in joined] == ["GroupAuthorizationFailedError"] * 2
    fencing = attempt.begin_transactions(writer, "auth-registry-relay")
    assert await attempt.outcome(fencing) == "TransactionalIdAuthorizationFailed"


async def test_no_service_makes_or_deletes_a_topic(secured: SecuredPlatform) -> None:
    for service in SERVICES:
        settings = secured.kafka_settings(service)
        assert await attempt.outcome(attempt.make_topic(settings, "measurements.raw.v2")) == DENIED
        assert await attempt.outcome(attempt.delete_topic(settings, topics.RAW)) == DENIED
    assert await attempt.outcome(attempt.delete_topic(secured.kafka_settings("topics"), topics.RAW)) == DENIED


def test_the_acls_are_those_of_the_contracts_and_no_service_gives_itself_one(secured: SecuredPlatform) -> None:
    assert secured.tool(ADMIN, "metering-topics", "acls", "--apply").returncode == 0
    refused = secured.tool("writer", "metering-topics", "acls", "--apply")
    assert (refused.returncode, "ClusterAuthorizationFailed" in refused.stderr) == (1, True)


async def test_a_client_certificate_is_the_same_principal(secured: SecuredPlatform) -> None:
    certificate = secured.authority.issue("ingest-api")
    settings = secured.kafka_settings(
        "ingest-api", bootstrap_servers=f"{HOST}:{secured.security.mtls_port}", security_protocol="SSL",
        sasl_mechanism=None, sasl_username=None, sasl_password=None,
        ssl_certfile=certificate.certificate, ssl_keyfile=certificate.key,
    )  # fmt: skip
    assert await attempt.outcome(attempt.read(settings, topics.OUTCOMES)) is None
    assert await attempt.outcome(attempt.read(settings, topics.RAW)) == DENIED
    without = settings.model_copy(update={"ssl_certfile": None, "ssl_keyfile": None})
    assert await attempt.outcome(attempt.connect(without)) == KafkaConnectionError.__name__


async def test_each_role_opens_its_own_database_only(secured: SecuredPlatform) -> None:
    for role in ROLES:
        for database in DATABASES:
            if role in (database.owner, *database.roles):
                assert await sql(secured, role, database.name, "SELECT 1") == 1
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
                    await sql(secured, role, database.name, "SELECT 1")


async def test_the_database_lets_no_stranger_in(secured: SecuredPlatform, tmp_path: Path) -> None:
    right = secured.dsn("storage_writer", "storage")
    plain = secured.postgres.dsn("storage_writer", "storage")
    for wrong, refusal in {
        f"{plain}?sslmode=disable": asyncpg.InvalidAuthorizationSpecificationError,
        right.replace("storage_writer:", "storage_writer:x"): asyncpg.InvalidPasswordError,
        right.replace("storage_writer:", "ingest_api:"): asyncpg.InvalidPasswordError,
        right.replace(HOST, "localhost"): ssl.SSLCertVerificationError,
        right.replace(str(secured.authority.file), other_authority(tmp_path)): ssl.SSLCertVerificationError,
    }.items():
        with pytest.raises(refusal):
            await asyncpg.connect(wrong)
    known = set(secured.postgres.sql("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'").split())
    assert known == {"postgres", *ROLES}  # none for ingest-api, none for the validator
    for service in ("ingest-api", "validator"):
        assert "postgresql://" not in json.dumps(secured.environment(service))


def other_authority(folder: Path) -> str:
    return str(Authority(folder / "other").file)


WRITES = ("INSERT INTO {} DEFAULT VALUES", "DELETE FROM {}", "TRUNCATE {}")


async def test_the_readers_role_cannot_write(secured: SecuredPlatform) -> None:
    tables = secured.postgres.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", "storage").split()
    assert "measurement" in tables
    for table in tables:
        for write in WRITES:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await sql(secured, "storage_reader", "storage", write.format(table))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM measurement",
        "DELETE FROM ingest_batch",
        "TRUNCATE measurement",
        "DROP TABLE measurement",
        "UPDATE storage_retention SET keep = '1 day'",
        "CREATE TABLE mine (id int)",
        "CREATE ROLE mine",
        "SELECT pg_read_file('postgresql.conf')",
    ],
)
async def test_the_writers_role_deletes_changes_and_makes_nothing_else(
    secured: SecuredPlatform, statement: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await sql(secured, "storage_writer", "storage", statement)


async def test_auths_role_cannot_rewrite_the_audit(secured: SecuredPlatform) -> None:
    for statement in ("DELETE FROM audit_event", "UPDATE audit_event SET action = ''", "TRUNCATE audit_event"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql(secured, "auth_service", "auth", statement)


async def test_one_trace_shows_ingest_api_the_validator_and_the_writer(
    secured: SecuredPlatform, site: Site, collector: Collector
) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    batch = await send(secured, site, int(time.time()) - 120, traceparent=f"00-{trace}-{parent}-01")

    async def spans() -> dict[str, Span]:
        return collector.of_trace(trace)

    told = await eventually(spans, lambda spans: spans.keys() == {"ingest-api", "validator", "writer"})
    ingest_api, validated, stored = told["ingest-api"], told["validator"], told["writer"]
    assert (ingest_api.name, ingest_api.parent) == ("POST /api/v1/measurements", parent)
    assert [(validated.name, validated.links), (stored.name, stored.links)] == [
        ("validate", {trace: ingest_api.id}),
        ("store", {trace: ingest_api.id}),
    ]
    assert ingest_api.attributes["metering.batch_id"] == batch
    assert ingest_api.attributes["http.response.status_code"] == "201"
    assert ingest_api.started_ns < validated.ended_ns < stored.ended_ns
    kept = "SELECT traceparent FROM ingest_batch WHERE batch_id = $1::text::uuid"
    assert await sql(secured, "storage_reader", "storage", kept, batch) == f"00-{trace}-{ingest_api.id}-01"
    lines = {service: [line for line in secured.log(service).splitlines() if trace in line] for service in told}
    assert all(batch in line for found in lines.values() for line in found)
    assert {service: len(found) for service, found in lines.items()} == dict.fromkeys(told, 1)


async def test_a_caller_who_samples_nothing_gets_no_spans(
    secured: SecuredPlatform, site: Site, collector: Collector
) -> None:
    silent, loud = "4bf92f3577b34da6a3ce929d0e0e4737", "4bf92f3577b34da6a3ce929d0e0e4738"
    for at, trace, flags in ((180, silent, "00"), (240, loud, "01")):
        sent = f"00-{trace}-00f067aa0ba902b7-{flags}"
        assert await ledger(secured, await send(secured, site, int(time.time()) - at, traceparent=sent)) == 1

    async def spans() -> dict[str, Span]:
        return collector.of_trace(loud)

    await eventually(spans, lambda spans: len(spans) == 3)
    assert collector.of_trace(silent) == {}


def test_no_secret_stands_in_a_log(secured: SecuredPlatform, site: Site) -> None:
    passwords = [*secured.security.users.values(), *secured.secrets.values(), site.token]
    passwords += [secured.dsn(role, database.name) for database in DATABASES for role in database.roles]
    for service in SERVICES:
        assert '"service.started"' in secured.log(service)
        assert [secret for secret in passwords if secret in secured.log(service)] == []
