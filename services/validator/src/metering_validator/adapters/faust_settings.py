"""What Faust is told: no tables, no web server, no topics of its own, raw bytes, one batch at a time."""

from typing import Any

from faust.auth import Credentials, SASLCredentials, SSLCredentials

from metering_common.kafka import clients as kafka
from metering_common.service.connections import tls_context
from metering_common.service.settings import KafkaSettings
from metering_validator.settings import Settings

STREAM_BUFFER_RECORDS = 64
"""Records read ahead of the batch in flight, and read at once; Faust's own 4,096 of 192 KB would be 786 MB, and without
the second a single answer is unpacked whole: twelve partitions of 1 MiB, which may be a hundred times as much."""
HEARTBEATS_PER_SESSION = 5


def faust_settings(settings: Settings) -> dict[str, Any]:
    """The arguments of `faust.App`."""
    servers = ";".join(f"kafka://{server.strip()}" for server in settings.kafka.bootstrap_servers.split(","))
    return {
        "id": settings.group_id,
        "broker": servers,
        "broker_credentials": _credentials(settings.kafka),
        "consumer_group_instance_id": settings.group_instance_id,
        "broker_session_timeout": settings.session_timeout_seconds,
        "broker_heartbeat_interval": settings.session_timeout_seconds / HEARTBEATS_PER_SESSION,
        "broker_commit_interval": settings.commit_interval_seconds,
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": kafka.PARTITION_FETCH_BYTES,
        "stream_buffer_maxsize": STREAM_BUFFER_RECORDS,
        "broker_max_poll_records": STREAM_BUFFER_RECORDS,
        "key_serializer": "raw",
        "value_serializer": "raw",
        "store": "memory://",
        "web_enabled": False,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
    }


def _credentials(settings: KafkaSettings) -> Credentials | None:
    context = tls_context(settings)
    if settings.security_protocol.startswith("SASL"):
        return SASLCredentials(
            username=settings.sasl_username,
            password=settings.sasl_password.get_secret_value() if settings.sasl_password else None,
            ssl_context=context,
            mechanism=settings.sasl_mechanism,
        )
    return None if context is None else SSLCredentials(context)
