"""The validator as a process beside a real Kafka, and what the tests put in and take out."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError

from metering_common.contract import topics
from metering_common.kafka import clients
from metering_common.kafka.publisher import Publisher, Record
from metering_common.registry.documents import RegistryDocument, document_key, encode_document
from metering_common.service.settings import KafkaSettings
from validator_support.builders import documents

VALIDATOR = [sys.executable, "-m", "metering_validator"]
WAIT_SECONDS = 90.0
"""Not how long anything should take, but when a test on a busy machine gives up."""
OUTPUTS = (topics.VALIDATED, topics.OUTCOMES, topics.DEAD)


class Replica:
    """One validator process; its log is a file."""

    def __init__(self, settings: KafkaSettings, log: Path, command: list[str], environment: dict[str, str]) -> None:
        self.log = log
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
            "KAFKA_ENVIRONMENT": "laptop",
            "VALIDATOR_ADMIN_HOST": "127.0.0.1",
            "VALIDATOR_ADMIN_PORT": "0",
            "VALIDATOR_SESSION_TIMEOUT_SECONDS": "6",
            "VALIDATOR_COMMIT_INTERVAL_SECONDS": "0.2",
            **environment,
        }
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env={"PATH": os.environ["PATH"], **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, timeout_seconds: float = WAIT_SECONDS) -> int:
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), timeout_seconds)

    async def logged(self, event: str, timeout_seconds: float = WAIT_SECONDS) -> str:
        """The first line of its log with this event."""
        async with asyncio.timeout(timeout_seconds):
            while True:
                for line in self.log.read_text().splitlines():
                    if f'"event":"{event}"' in line:
                        return line
                await asyncio.sleep(0.05)


class Replicas:
    """Starts processes and ends them all with the test."""

    def __init__(self, settings: KafkaSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._all: list[Replica] = []

    def start(self, command: list[str] | None = None, /, **environment: str) -> Replica:
        """The validator, or another program that takes its environment."""
        log = self._folder / f"validator-{len(self._all)}.log"
        self._all.append(Replica(self._settings, log, command or VALIDATOR, environment))
        return self._all[-1]

    def kill_all(self) -> None:
        for replica in self._all:
            replica.kill()


async def publish_registry(publisher: Publisher, *published: RegistryDocument) -> None:
    """Without arguments the builders' dictionary and device."""
    records = [
        Record(topics.REGISTRY, document_key(document).encode(), encode_document(document), [])
        for document in published or documents()
    ]
    await publisher.publish(records)


class Tap:
    """Everything that stands on the validator's output topics."""

    def __init__(self) -> None:
        self.records: dict[str, list[ConsumerRecord]] = {topic: [] for topic in OUTPUTS}
        self._more = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: KafkaSettings) -> AsyncIterator["Tap"]:
        tap = cls()
        async with clients.consumer(settings, *OUTPUTS) as consumer:
            reading = asyncio.create_task(tap._read(consumer))
            yield tap
            reading.cancel()
            await asyncio.wait({reading})

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        async for record in consumer:
            self.records[record.topic].append(record)
            self._more.set()

    async def until(self, topic: str, count: int, timeout_seconds: float = WAIT_SECONDS) -> list[ConsumerRecord]:
        async with asyncio.timeout(timeout_seconds):
            while len(self.records[topic]) < count:
                self._more.clear()
                await self._more.wait()
        return self.records[topic]


async def committed_offsets(settings: KafkaSettings, group: str = "validator") -> dict[int, int]:
    """What the group has let go of, per partition of the raw topic."""
    client = clients.admin_client(settings)
    await client.start()
    try:
        offsets = await client.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:
        return {}  # a fresh broker makes its offsets topic with the first group
    finally:
        await client.close()
    return {tp.partition: at.offset for tp, at in offsets.items() if tp.topic == topics.RAW}


async def delete_topic(settings: KafkaSettings, name: str) -> None:
    client = clients.admin_client(settings)
    await client.start()
    try:
        await client.delete_topics([name])
    finally:
        await client.close()


async def end_offsets(settings: KafkaSettings, topic: str = topics.RAW) -> dict[int, int]:
    async with clients.consumer(settings, topic) as consumer:
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        return {tp.partition: end for tp, end in (await consumer.end_offsets(partitions)).items()}
