"""`metering-topics cat`: what stands on a topic, record by record and entry by entry, as in contracts/examples."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiokafka import ConsumerRecord, TopicPartition

from metering_common.contract.envelope import UnreadableFrameError, unpack
from metering_common.contract.topics import OUTCOMES, RAW, VALIDATED
from metering_common.kafka import clients
from metering_common.service.settings import KafkaSettings

FRAMED = (RAW, VALIDATED, OUTCOMES)
_POLL_MS = 500


async def records(settings: KafkaSettings, topic: str, partition: int | None, offset: int) -> AsyncIterator[Any]:
    """From `offset` in the partition, or in each, up to the end that is seen now."""
    async with clients.consumer(settings) as consumer:
        first = TopicPartition(topic, 0)
        consumer.assign([first])
        await consumer.end_offsets([first])  # a client learns of a topic only with one of its partitions
        numbers = sorted(consumer.partitions_for_topic(topic) or {0}) if partition is None else [partition]
        asked = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(asked)
        starts, ends = await consumer.beginning_offsets(asked), await consumer.end_offsets(asked)
        for one in asked:
            consumer.assign([one])
            consumer.seek(one, max(starts[one], offset))
            while await consumer.position(one) < ends[one]:
                for record in (await consumer.getmany(one, timeout_ms=_POLL_MS)).get(one, []):
                    yield shown(record)


def shown(record: ConsumerRecord) -> dict[str, Any]:
    """One record as JSON; what is no JSON is shown as text."""
    about = {
        "position": f"{record.topic}/{record.partition}/{record.offset}",
        "timestampMs": record.timestamp,
        "key": None if record.key is None else _text(record.key),
        "headers": {name: _text(bytes(value or b"")) for name, value in record.headers},
    }
    if record.topic in FRAMED:
        try:
            entries = unpack(record.value or b"")
        except UnreadableFrameError as error:
            return about | {"unreadable": str(error), "value": _text(record.value or b"")}
        return about | {"entries": [{"metadata": _json(one.metadata), "value": _json(one.value)} for one in entries]}
    return about | {"value": None if record.value is None else _json(record.value)}


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return _text(data)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
