"""How every service reaches Kafka: one place for the client settings that the topics' contracts rely on."""

import ssl
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from metering_common.service.connections import tls_context
from metering_common.service.retry import RefusedError
from metering_common.service.settings import KafkaSettings

MAX_REQUEST_BYTES = 6 * 1024 * 1024
"""Above the largest record of any topic (5 MiB on the dead letters): the topic's own limit decides."""
MAX_BATCH_BYTES = 1_000_000
"""One batch per partition is in flight at a time: large ones carry large records, below the registry's 1 MiB."""
FETCH_BYTES = 16 * 1024 * 1024
"""Per answer, compressed: what a consumer holds at most besides what it is working on."""
PARTITION_FETCH_BYTES = 1024 * 1024
"""Per partition and answer; a larger record still comes, alone in its answer (KIP-74)."""
FETCH_WAIT_MS = 50
"""Of a consumer that works between its polls: how long a fetch waits while there is nothing to answer. aiokafka has one
on its way per broker, for partitions of which it holds nothing: when work takes longer than 0.1 s, for the silent ones
alone, and the busy ones are not asked for until that fetch is back."""
REQUEST_TIMEOUT_MS = 5_000
"""After it a silent connection is given up; an idempotent producer then asks again, without duplicates."""
_REFUSALS = (
    ssl.SSLCertVerificationError,
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)


def producer(settings: KafkaSettings, **overrides: Any) -> AIOKafkaProducer:
    """An unstarted producer: acknowledged by all in-sync replicas, idempotent, zstd. Made inside a running loop.

    While Kafka is away its sends and its `stop()` hang (aio-libs/aiokafka#1101): use `publisher.Publisher` instead
    unless transactions are needed.
    """
    arguments: dict[str, Any] = {
        **_connection(settings),
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": "zstd",
        "max_request_size": MAX_REQUEST_BYTES,
        "max_batch_size": MAX_BATCH_BYTES,
    }
    return AIOKafkaProducer(**arguments | overrides)


def consumer(
    settings: KafkaSettings,
    *topics: str,
    group_id: str | None = None,
    isolation_level: Literal["read_committed", "read_uncommitted"] = "read_committed",
    **overrides: Any,
) -> AIOKafkaConsumer:
    """An unstarted consumer from the earliest record on; commits only when told to. Made inside a running loop."""
    arguments: dict[str, Any] = {
        **_connection(settings),
        "group_id": group_id,
        "isolation_level": isolation_level,
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "fetch_max_bytes": FETCH_BYTES,
        "max_partition_fetch_bytes": PARTITION_FETCH_BYTES,
    }
    return AIOKafkaConsumer(*topics, **arguments | overrides)


def admin_client(settings: KafkaSettings) -> AIOKafkaAdminClient:
    """An unstarted admin client. Made inside a running loop."""
    return AIOKafkaAdminClient(**_connection(settings))


async def reach(settings: KafkaSettings) -> None:
    """Returns when one of the brokers lets us in; aiokafka's clients would only log why none does, at each attempt.

    Raises `RefusedError` when a broker that is there refuses, `KafkaConnectionError` when all are away.
    """
    connection = _connection(settings)
    troubles: list[Exception] = []
    for host, port, _family in collect_hosts(connection.pop("bootstrap_servers")):
        try:
            broker = await create_conn(host, port, **connection)
        except (KafkaError, OSError) as error:
            troubles.append(error)
        else:
            broker.close()
            return
    where = settings.bootstrap_servers
    for trouble in troubles:
        if isinstance(trouble, _REFUSALS):
            raise RefusedError(f"Kafka does not let us in at {where}: {trouble!r}") from trouble
    raise KafkaConnectionError(f"Kafka does not answer at {where}: {troubles[-1]!r}") from troubles[-1]


def _connection(settings: KafkaSettings) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
    }
    if (context := tls_context(settings)) is not None:
        arguments["ssl_context"] = context
    if settings.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = settings.sasl_mechanism
        arguments["sasl_plain_username"] = settings.sasl_username
        arguments["sasl_plain_password"] = settings.sasl_password and settings.sasl_password.get_secret_value()
    return arguments
