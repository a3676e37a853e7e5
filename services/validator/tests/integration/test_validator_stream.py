"""What Faust does with a body that raises or is cancelled costs no record: the process ends, commits are guarded.

And a batch is full by its records or by its bytes, whichever comes first.
"""

import asyncio
import json
import sys
from pathlib import Path
from uuid import UUID

import pytest
from validator_support.account import look_until_complete, publish_load
from validator_support.builders import element, headers
from validator_support.live import WAIT_SECONDS, Replica, Replicas, committed_offsets, publish_registry

from metering_common.contract import topics
from metering_common.contract.metadata import encode_headers
from metering_common.kafka.publisher import Publisher, Record
from metering_common.service.settings import KafkaSettings
from metering_validator.adapters.process import CANNOT_GO_ON

MISBEHAVING = Path(__file__).with_name("misbehaving_validator.py")
SEVERAL_COMMITS = 2.0  # seconds


async def misbehave(kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, mode: str, end: str) -> Replica:
    """100 records are validated and committed; with the next 300 the validate misbehaves."""
    await publish_load(publisher, 100, seed=1)
    replica = replicas.start([sys.executable, str(MISBEHAVING), mode, end], VALIDATOR_COMMIT_INTERVAL_SECONDS="0.1")
    async with asyncio.timeout(WAIT_SECONDS):
        while await committed(kafka) < 100:  # noqa: ASYNC110  Kafka does not tell
            await asyncio.sleep(0.05)
    await publish_load(publisher, 300, seed=2)
    return replica


async def committed(kafka: KafkaSettings) -> int:
    return sum((await committed_offsets(kafka)).values())


@pytest.mark.parametrize("mode", ["raise", "cancel"])
async def test_a_body_that_raises_or_is_cancelled_ends_the_process_and_commits_nothing_of_its_batch(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, mode: str
) -> None:
    replica = await misbehave(kafka, replicas, publisher, mode, "end")
    assert await replica.ended() == CANNOT_GO_ON
    assert await committed(kafka) == 100


@pytest.mark.parametrize("mode", ["raise", "cancel"])
async def test_what_faust_acknowledges_of_such_a_body_is_not_committed_even_if_the_process_goes_on(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher, mode: str
) -> None:
    replica = await misbehave(kafka, replicas, publisher, mode, "carry-on")
    await replica.logged("records.cannot_go_on")
    await publish_load(publisher, 300, seed=3)
    await asyncio.sleep(SEVERAL_COMMITS)
    assert replica.process.poll() is None
    assert await committed(kafka) == 100


async def test_a_batch_is_full_by_its_bytes_as_well_as_by_its_records(
    kafka: KafkaSettings, replicas: Replicas, publisher: Publisher
) -> None:
    await publish_registry(publisher)
    wide = element(number="9" * 10_000)  # without measures: that is how they are counted below
    stamps = [encode_headers(headers(batch_id=UUID(int=number))) for number in range(40)]
    await publisher.publish([Record(topics.RAW, b"29", wide, stamp) for stamp in stamps])
    await publish_load(publisher, 60, seed=4)
    replica = replicas.start(
        VALIDATOR_BATCH_BYTES="45000", VALIDATOR_BATCH_RECORDS="30", VALIDATOR_BATCH_WAIT_SECONDS="1"
    )
    await look_until_complete(kafka)
    lines = [json.loads(line) for line in replica.log.read_text().splitlines() if "records.validated" in line]
    assert sum(line["validated"] for line in lines) == 100
    assert max(line["validated"] for line in lines) <= 30
    assert max(line["validated"] - line["measures"] for line in lines) <= 5
