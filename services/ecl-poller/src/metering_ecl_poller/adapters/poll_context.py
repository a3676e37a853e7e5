"""What service and tool poll with: the adapters round one `Polling`."""

from collections.abc import Callable
from dataclasses import dataclass

from metering_common.kafka.publisher import Publisher
from metering_common.registry.replica import RegistryReplica
from metering_ecl_poller.adapters.kafka.raw_publisher import KafkaRawPublisher
from metering_ecl_poller.adapters.portal.client import PortalClient
from metering_ecl_poller.adapters.postgres.poll_store import PostgresPollStore
from metering_ecl_poller.application.polling import Polling
from metering_ecl_poller.domain.job import PollJob
from metering_ecl_poller.domain.portal.dialect import Dialect


@dataclass(frozen=True)
class PollContext:
    """Open for as long as the service runs or the command needs it."""

    polling: Polling
    store: PostgresPollStore
    publisher: KafkaRawPublisher
    replica: RegistryReplica
    producer: Publisher
    portal_for: Callable[[PollJob], PortalClient]
    dialect: Dialect
