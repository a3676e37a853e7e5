"""Publishes the portal's answers and the measures made of them to Kafka; returns after the acknowledgements."""

import asyncio
from collections.abc import Iterator, Sequence

from metering_common.contract.batch_id import new_batch_id
from metering_common.contract.metadata import RecordHeaders, RegistryVersion, encode_headers
from metering_common.contract.rev import mapping_rev
from metering_common.contract.topics import RAW
from metering_common.kafka.publisher import Publisher, PublishUnavailableError, Record
from metering_common.registry.documents import Device
from metering_common.registry.replica import RegistryReplica
from metering_common.service.clock import Clock
from metering_ecl_poller.adapters.kafka.answers import to_record
from metering_ecl_poller.domain.elements import PortalElement
from metering_ecl_poller.domain.portal.answer import PortalAnswer
from metering_ecl_poller.metrics import PollerMetrics

MAX_ITEMS = 100  # records of one batch; a batch is the same everywhere: `rev` has 7 bits for the item
DEADLINE_SECONDS = 15.0
TRIES = 3  # of one publication: a broker that changes leaders is back in seconds


class RegistryUnsureError(Exception):
    """Whether a device exists is not known now: the registry replica is behind and could not catch up."""


class KafkaRawPublisher:
    """One per process; calls may run side by side."""

    def __init__(self, publisher: Publisher, replica: RegistryReplica, clock: Clock, metrics: PollerMetrics) -> None:
        self._publisher, self._replica = publisher, replica
        self._clock, self._metrics = clock, metrics

    async def archive(self, answer: PortalAnswer, mapping_version: int) -> None:
        """Publishes the answer verbatim, before anything is made of it. Raises `PublishUnavailableError`."""
        self._metrics.answers.labels(answer.call, str(answer.http_status)).inc()
        await self._publish([to_record(answer, mapping_version)])

    async def find_device(self, provider: int, number: str) -> Device | None:
        """None only when it surely does not exist; raises `RegistryUnsureError`."""
        device = self._replica.registry.device_by_number(provider, number)
        if device is not None:
            return device
        if not await self._replica.catch_up():
            raise RegistryUnsureError("the registry could not be read to its end")
        return self._replica.registry.device_by_number(provider, number)

    async def publish(
        self, device: Device, elements: Sequence[PortalElement], mapping_version: int, traceparent: str | None = None
    ) -> list[str]:
        """Returns the ids of the batches, once all their records are acknowledged. Raises `PublishUnavailableError`."""
        version = self._replica.version
        if version is None:
            raise RegistryUnsureError("the registry is not yet read")
        batches = []
        for batch in _hundreds(elements):
            records = self._records(device, batch, mapping_version, (version, traceparent))
            batches.append(str(records[0][0]))
            await self._publish([record for _, record in records])
        return batches

    def _records(
        self,
        device: Device,
        batch: Sequence[PortalElement],
        mapping_version: int,
        about: tuple[RegistryVersion, str | None],
    ) -> list[tuple[object, Record]]:
        batch_id, (version, traceparent) = new_batch_id(self._clock.now_ms()), about
        records: list[tuple[object, Record]] = []
        for item, element in enumerate(batch):
            headers = RecordHeaders(
                batch_id=batch_id,
                item=item,
                items=len(batch),
                provider_id=device.provider,
                gateway_id=None,
                device_id=device.id,
                source="ecl",
                received_at_ms=element.answered_ms,
                rev=mapping_rev(element.answered_ms, mapping_version),
                registry=version,
                traceparent=traceparent,
                clock_doubtful=element.doubtful,
            )
            key = str(device.id).encode()
            records.append((batch_id, Record(RAW, key, element.body, encode_headers(headers))))
        return records

    async def _publish(self, records: Sequence[Record]) -> None:
        """A repetition may double a record: everything behind tolerates that."""
        for left in reversed(range(TRIES)):
            try:
                await self._publisher.publish(records, DEADLINE_SECONDS)
            except PublishUnavailableError as error:
                if not left or error.reason == "closed":
                    raise
                await asyncio.sleep(error.retry_after_seconds)
            else:
                return


def _hundreds(elements: Sequence[PortalElement]) -> Iterator[Sequence[PortalElement]]:
    for start in range(0, len(elements), MAX_ITEMS):
        yield elements[start : start + MAX_ITEMS]
