"""The fastest loop found for Faust (docs/adr/0002-faust-without-tables.md): it only sends each record on."""

import asyncio
import os
from typing import Any

import uvloop

from metering_common.contract import topics
from metering_common.kafka import clients as kafka
from metering_common.service.settings import KafkaSettings
from metering_validator.adapters.faust_settings import faust_settings
from metering_validator.adapters.stream import TablelessApp
from metering_validator.settings import Settings


async def main() -> None:
    """Runs until it is killed."""
    settings = Settings(kafka=KafkaSettings(), admin_port=0, group_id=os.environ["VALIDATOR_GROUP_ID"])
    app = TablelessApp(**faust_settings(settings))
    producer = kafka.producer(settings.kafka)
    await producer.start()

    async def send_on(stream: Any) -> None:
        async for events in stream.take_events(500, within=0.05):
            sent = [await producer.send(topics.VALIDATED, key=event.key, value=event.value) for event in events]
            await asyncio.gather(*sent)

    raw = app.topic(topics.RAW, key_serializer="raw", value_serializer="raw")
    app.agent(raw, concurrency=1, name="bare")(send_on)
    async with app:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())
