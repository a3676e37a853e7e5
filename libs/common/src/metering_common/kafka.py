"""How every service reaches Kafka: one place for the client settings that the topics' contracts rely on."""

from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from metering_common.connections import tls_context
from metering_common.settings import KafkaSettings

MAX_REQUEST_BYTES = 6 * 1024 * 1024
"""Above the largest record of any topic (5 MiB on the dead letters): the topic's own limit decides."""
MAX_BATCH_BYTES = 1_000_000
"""One batch per partition is in flight at a time: large ones carry large records, below the registry's 1 MiB."""
FETCH_BYTES = 16 * 1024 * 1024
"""Per answer, compressed: what a consumer holds at most besides what it is working on."""
PARTITION_FETCH_BYTES = 1024 * 1024
"""Per partition and answer; a larger record still comes, alone in its answer (KIP-74)."""
REQUEST_TIMEOUT_MS = 5_000
"""After it a silent connection is given up; an idempotent producer then asks again, without duplicates."""


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
