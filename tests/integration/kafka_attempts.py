"""What somebody tries on Kafka, told as what came of it: None, or the error's class name."""

import asyncio
from collections.abc import Awaitable

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, for_code

from metering_common.kafka import clients as kafka
from metering_common.service.settings import KafkaSettings

ANSWER_SECONDS = 30


async def outcome(attempt: Awaitable[object]) -> str | None:
    """Hanging is no refusal: it raises TimeoutError."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await attempt
    except KafkaError as error:
        return type(error).__name__
    return None


async def connect(settings: KafkaSettings) -> None:
    admin = kafka.admin_client(settings)
    try:
        await admin.start()
    finally:
        await admin.close()


async def write(settings: KafkaSettings, topic: str) -> None:
    """Without idempotence, so that one refusal does not spoil what is tried next."""
    producer = kafka.producer(settings, enable_idempotence=False)
    await producer.start()
    try:
        await producer.send_and_wait(topic, b"{}", b"1")
    finally:
        await producer.stop()


async def read(settings: KafkaSettings, topic: str) -> None:
    """The topic's first record, or that there is none."""
    consumer = kafka.consumer(settings, topic)
    try:
        await consumer.start()
        await consumer.getmany(timeout_ms=2_000)
    finally:
        await consumer.stop()


async def join(settings: KafkaSettings, topic: str, group: str) -> None:
    consumer: AIOKafkaConsumer = kafka.consumer(settings, topic, group_id=group)
    try:
        await consumer.start()
        await consumer.getmany(timeout_ms=2_000)
    finally:
        await consumer.stop()


async def begin_transactions(settings: KafkaSettings, transactional_id: str) -> None:
    producer = kafka.producer(settings, transactional_id=transactional_id)
    try:
        await producer.start()
    finally:
        await producer.stop()


async def make_topic(settings: KafkaSettings, topic: str) -> None:
    admin = kafka.admin_client(settings)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    for _, code, *_ in answer.topic_errors:
        if code:
            raise for_code(code)


async def delete_topic(settings: KafkaSettings, topic: str) -> None:
    admin = kafka.admin_client(settings)
    await admin.start()
    try:
        answer = await admin.delete_topics([topic])
    finally:
        await admin.close()
    for _, code, *_ in answer.topic_error_codes:
        if code:
            raise for_code(code)
