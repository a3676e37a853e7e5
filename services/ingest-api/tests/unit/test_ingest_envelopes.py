"""Requests gather while an envelope is on its way: together, never split, and gone from it once they were refused."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from metering_common.contract.envelope import ENVELOPE_BYTES, PackedEntry, unpack
from metering_common.kafka.publisher import PublishUnavailableError, Record, RecordTooLargeError
from metering_common.service.clock import ManualClock
from metering_ingest_api.adapters.envelopes import MAX_IN_FLIGHT, SLOW_SECONDS, EnvelopePublisher
from metering_ingest_api.metrics import IngestMetrics

pytestmark = pytest.mark.fast

PARTITIONS = 12


class Kafka:
    """Takes envelopes, and acknowledges each when the test says so."""

    def __init__(self) -> None:
        self.sent: list[Record] = []
        self.held = 0
        self._waiting: list[asyncio.Future[None]] = []

    def hold(self, size: int) -> None:
        self.held += size

    def let_go(self, size: int) -> None:
        self.held -= size

    async def partitions(self, topic: str) -> int:
        assert topic == "measurements.raw.v1"
        return PARTITIONS

    async def publish(self, records: Sequence[Record]) -> None:
        self.sent += records
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    async def acknowledge(self, place: int = 0, error: Exception | None = None) -> None:
        waiting = self._waiting.pop(place)
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
        await turns()

    def values(self) -> list[list[bytes]]:
        """What each envelope carries."""
        return [[value for _, value in unpack(record.value or b"")] for record in self.sent]


class House:
    """The gatherer of a pod, before a Kafka of the test's own."""

    def __init__(self, envelopes: EnvelopePublisher, kafka: Kafka, clock: ManualClock) -> None:
        self.envelopes, self.kafka, self.clock = envelopes, kafka, clock

    async def post(self, *values: bytes, seconds: float = 60) -> "asyncio.Task[None]":
        """A request that has got as far as it gets by itself."""
        entries = [PackedEntry(b"{}", value) for value in values]
        task = asyncio.create_task(self.envelopes.publish(entries, seconds))
        await turns()
        return task


async def turns() -> None:
    for _ in range(8):
        await asyncio.sleep(0)


@asynccontextmanager
async def opened() -> AsyncIterator[House]:
    kafka, clock = Kafka(), ManualClock(0)
    async with EnvelopePublisher.open(kafka, clock, IngestMetrics(CollectorRegistry())) as envelopes:
        yield House(envelopes, kafka, clock)
        while kafka._waiting:
            await kafka.acknowledge()


async def test_alone_a_request_leaves_at_once_and_what_comes_meanwhile_leaves_together() -> None:
    async with opened() as house:
        first = await house.post(b"a", b"b")
        others = [await house.post(b"%d" % number) for number in range(5)]
        assert house.kafka.values() == [[b"a", b"b"]]
        await house.kafka.acknowledge()
        assert first.done()
        assert not any(task.done() for task in others)
        assert house.kafka.values()[1:] == [[b"0", b"1", b"2", b"3", b"4"]]
        await house.kafka.acknowledge()
        await asyncio.gather(*others)


async def test_requests_of_the_same_moment_share_the_first_envelope() -> None:
    async with opened() as house:
        posts = [house.envelopes.publish([PackedEntry(b"{}", b"%d" % number)], 60) for number in range(3)]
        together = asyncio.gather(*posts)
        await turns()
        assert house.kafka.values() == [[b"0", b"1", b"2"]]
        await house.kafka.acknowledge()
        await together


async def test_an_envelope_takes_256_kib_a_larger_request_is_alone_and_none_is_split() -> None:
    async with opened() as house:
        await house.post(b"first")
        large, half = b"x" * (ENVELOPE_BYTES + 1), b"y" * (ENVELOPE_BYTES // 2)
        await house.post(half, b"small")
        await house.post(half, b"small")
        await house.post(large)
        await house.post(b"last")
        while house.kafka._waiting:
            await house.kafka.acknowledge()
        assert [[len(value) for value in envelope] for envelope in house.kafka.values()] == [
            [5],
            [len(half), 5],
            [len(half), 5],
            [len(large)],
            [4],
        ]


async def test_a_few_envelopes_are_on_their_way_to_partitions_of_their_own() -> None:
    async with opened() as house:
        for _ in range(2 * MAX_IN_FLIGHT):
            await house.post(b"x" * ENVELOPE_BYTES)
        assert len(house.kafka.sent) == MAX_IN_FLIGHT
        assert len({record.partition for record in house.kafka.sent}) == MAX_IN_FLIGHT


async def test_one_that_is_slow_is_not_waited_for_by_what_came_since() -> None:
    async with opened() as house:
        await house.post(b"stuck")
        await house.post(b"soon after")
        assert house.kafka.values() == [[b"stuck"]]
        house.clock.advance(SLOW_SECONDS + 0.001)
        await house.post(b"later")
        assert house.kafka.values() == [[b"stuck"], [b"soon after", b"later"]]


async def test_a_request_refused_before_its_envelope_left_never_leaves() -> None:
    async with opened() as house:
        await house.post(b"first")
        late = await house.post(b"late", seconds=0.01)
        gone = await house.post(b"gone away")
        kept = await house.post(b"kept")
        gone.cancel()
        with pytest.raises(PublishUnavailableError) as refusal:
            await late
        assert refusal.value.reason == "deadline"
        await house.kafka.acknowledge()
        assert house.kafka.values() == [[b"first"], [b"kept"]]
        await house.kafka.acknowledge()
        await kept
        assert house.kafka.held == 0


async def test_one_refused_after_it_left_lets_its_neighbours_have_their_answer() -> None:
    async with opened() as house:
        posts = [house.envelopes.publish([PackedEntry(b"{}", b"x")], seconds) for seconds in (0.01, 60)]
        late, patient = (asyncio.create_task(post) for post in posts)
        with pytest.raises(PublishUnavailableError):
            await late
        await house.kafka.acknowledge()
        await patient


@pytest.mark.parametrize("error", [PublishUnavailableError("failed"), RecordTooLargeError("no"), RuntimeError("odd")])
async def test_what_becomes_of_an_envelope_is_told_to_each_of_its_requests(error: Exception) -> None:
    async with opened() as house:
        await house.post(b"first")
        posts = [await house.post(b"x") for _ in range(3)]
        await house.kafka.acknowledge()
        await house.kafka.acknowledge(error=error)
        for post in posts:
            with pytest.raises(type(error)):
                await post
        assert house.kafka.held == 0


async def test_what_is_gathered_is_held_as_in_flight_until_it_leaves() -> None:
    async with opened() as house:
        await house.post(b"first")
        assert house.kafka.held == 0
        await house.post(b"x" * 1_000)
        assert house.kafka.held > 1_000
        await house.kafka.acknowledge()
        assert house.kafka.held == 0
