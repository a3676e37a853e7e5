"""A busy partition is asked for and taken all the time: what bench_validator.py measures rests on these three."""

import asyncio
from collections.abc import Iterator

import pytest
from faust.types import TP

from metering_common.contract import topics
from metering_common.kafka.clients import FETCH_WAIT_MS
from metering_common.service.settings import KafkaSettings
from metering_validator.adapters.commit_guard import GuardedConsumer, GuardedTransport
from metering_validator.adapters.faust_settings import STREAM_BUFFER_RECORDS, faust_settings
from metering_validator.adapters.stream import TablelessApp
from metering_validator.settings import Settings


@pytest.fixture
def consumer() -> Iterator[GuardedConsumer]:
    """Made as the stream makes it, and not started."""
    kafka = KafkaSettings(bootstrap_servers="127.0.0.1:1", environment="laptop")
    app = TablelessApp(**faust_settings(Settings(kafka=kafka, admin_port=0)))
    app.transport = GuardedTransport(app.conf.broker_consumer, app)
    guarded = app.consumer
    assert isinstance(guarded, GuardedConsumer)
    yield guarded
    guarded._thread.thread_loop.close()


async def test_a_partition_with_a_full_buffer_is_not_left_out(consumer: GuardedConsumer) -> None:
    partition = TP(topics.RAW, 3)
    consumer._set_active_tps({partition})  # Faust's list of what the next answer may bring
    consumer.on_buffer_full(partition)
    assert consumer._get_active_partitions() == {partition}


async def test_the_client_waits_and_takes_no_more_than_it_is_told(consumer: GuardedConsumer) -> None:
    client = consumer._thread._create_consumer(asyncio.get_running_loop())
    try:
        assert client._fetch_max_wait_ms == FETCH_WAIT_MS  # aiokafka's own names: a new version may drop them
        assert client._max_poll_records == STREAM_BUFFER_RECORDS
    finally:
        await client.stop()
