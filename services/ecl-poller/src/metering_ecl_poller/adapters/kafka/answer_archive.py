"""Reads `ecl.answers.v1` again, from a moment on, in each controller's order: where a wrong guess is mended from."""

from collections.abc import AsyncIterator, Callable

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from metering_common.contract.metadata import MalformedHeadersError
from metering_common.contract.topics import ECL_ANSWERS, open_admin
from metering_common.kafka.consumers import open_consumer
from metering_common.service.settings import KafkaSettings
from metering_ecl_poller.adapters.kafka.answers import from_record
from metering_ecl_poller.domain.portal.answer import ArchivedAnswer

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

POLL_MS = 500
OnProgress = Callable[[int, int], None]
"""Records read, and of how many."""


async def kept_answers(settings: KafkaSettings, since_ms: int, progress: OnProgress) -> AsyncIterator[ArchivedAnswer]:
    """Every answer that stood on the topic when this began and was put there since, partition by partition.

    Raises `UnknownSchemaVersionError` on what a newer release wrote; what no release can read is logged and left out.
    """
    async with open_consumer(settings) as consumer:
        spans = await _spans(consumer, await _partitions(settings), since_ms)
        done, total = 0, sum(end - start for start, end in spans.values())
        for partition, (start, end) in spans.items():
            consumer.assign([partition])
            consumer.seek(partition, start)
            position = start
            while position < end:
                records = (await consumer.getmany(partition, timeout_ms=POLL_MS)).get(partition, [])
                for record in records:
                    if record.offset < end and (answer := _read(record)) is not None:
                        yield answer
                position = await consumer.position(partition)
                progress(done + min(position, end) - start, total)
            done += end - start


async def _spans(
    consumer: AIOKafkaConsumer, partitions: list[TopicPartition], since_ms: int
) -> dict[TopicPartition, tuple[int, int]]:
    consumer.assign(partitions)
    ends = await consumer.end_offsets(partitions)
    starts = await consumer.offsets_for_times(dict.fromkeys(partitions, since_ms))
    spans = {}
    for partition in partitions:
        found = starts[partition]
        spans[partition] = (ends[partition] if found is None else found.offset, ends[partition])
    return spans


async def _partitions(settings: KafkaSettings) -> list[TopicPartition]:
    async with open_admin(settings) as admin:
        (topic,) = await admin.describe_topics([ECL_ANSWERS])
    return [TopicPartition(ECL_ANSWERS, number) for number in sorted(one["partition"] for one in topic["partitions"])]


def _read(record: object) -> ArchivedAnswer | None:
    try:
        return from_record(list(record.headers), record.value)  # type: ignore[attr-defined]  # aiokafka has no types
    except (MalformedHeadersError, KeyError, ValueError) as error:
        log.error("answer.unreadable", offset=record.offset, error=repr(error))  # type: ignore[attr-defined]  # noqa: TRY400  as above; the trace adds nothing
        return None
