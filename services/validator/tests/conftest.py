"""A validator process beside a real Kafka, and what the tests put in and take out."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from validator_support.live import Replicas, Tap

from metering_common.kafka.publisher import Publisher
from metering_common.service.clock import SystemClock
from metering_common.service.settings import KafkaSettings


@pytest.fixture
def replicas(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Replicas]:
    started = Replicas(kafka, tmp_path)
    yield started
    started.kill_all()


@pytest.fixture
async def publisher(kafka: KafkaSettings) -> AsyncIterator[Publisher]:
    async with Publisher.open(kafka, SystemClock(), deadline_seconds=20) as opened:
        yield opened


@pytest.fixture
async def tap(kafka: KafkaSettings) -> AsyncIterator[Tap]:
    async with Tap.open(kafka) as opened:
        yield opened
