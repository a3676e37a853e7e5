"""A batch from taking to letting go: what is sent, tried again, counted, and when the process must end instead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from validator_support.builders import (
    EPOCH,
    NOW,
    RECEIVED_AT_MS,
    SENSORS,
    documents,
    element,
    measure,
    metadata,
    packed,
    raw_envelope,
    raw_record,
    sensor,
)

from metering_common.contract import topics
from metering_common.contract.dead_letters import METADATA, decode_dead_letter_headers
from metering_common.contract.envelope import ConsumedRecord, Envelope, envelope_headers, read_envelope
from metering_common.contract.messages import Outcome, Status, Validated, decode_validated
from metering_common.contract.metadata import RecordPosition, RegistryVersion, encode_metadata
from metering_common.contract.outcomes import all_outcomes, partition_of
from metering_common.kafka.publisher import PublishUnavailableError, Record, RecordTooLargeError
from metering_common.registry.documents import document_key, encode_document
from metering_common.registry.memory import Registry
from metering_common.service.clock import ManualClock
from metering_validator.application import MAX_RETRY_SECONDS, CannotGoOnError, Validator
from metering_validator.domain.context import Limits
from metering_validator.metrics import Metrics

pytestmark = pytest.mark.fast


def registry() -> Registry:
    made = Registry()
    for document in documents():
        made.apply(document_key(document), encode_document(document))
    return made


@dataclass
class Replica:
    """Knows the registry up to a position; whatever it waits for comes or does not."""

    registry: Registry = field(default_factory=registry)
    version: RegistryVersion | None = field(default_factory=lambda: RegistryVersion(EPOCH, 100))
    comes: bool = True
    waited: list[tuple[int, float]] = field(default_factory=list)

    async def wait_for(self, version: RegistryVersion, timeout_seconds: float) -> bool:
        self.waited.append((version.position, timeout_seconds))
        if self.comes:
            self.version = version
        return self.comes


@dataclass
class Publisher:
    """Acknowledges at once, or fails as often as it is told to, each time taking a minute of the clock."""

    clock: ManualClock
    failures: int = 0
    error: Exception = field(default_factory=lambda: PublishUnavailableError("breaker_open"))
    sent: list[Record] = field(default_factory=list)
    calls: int = 0

    async def partitions(self, topic: str) -> int:
        assert topic == topics.OUTCOMES
        return 12

    async def publish(self, records: Sequence[Record]) -> None:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            self.clock.advance(60)
            raise self.error
        self.sent.extend(records)

    def of(self, topic: str) -> list[Record]:
        return [record for record in self.sent if record.topic == topic]

    def envelopes(self) -> list[Envelope]:
        at = RecordPosition(topics.VALIDATED, 0, 0)
        return [read_envelope(ConsumedRecord(at, 0, None, one.value, one.headers)) for one in self.of(topics.VALIDATED)]

    def results(self) -> list[Validated]:
        return [decode_validated(entry.packed.value) for one in self.envelopes() for entry in one.entries]

    def outcomes(self) -> list[Outcome]:
        return [outcome for record in self.of(topics.OUTCOMES) for outcome in all_outcomes(record.value or b"")]


class House:
    """A validator with everything around it."""

    def __init__(self) -> None:
        self.clock = ManualClock(RECEIVED_AT_MS + 1_000)
        self.replica = Replica()
        self.publisher = Publisher(self.clock)
        self.collectors = CollectorRegistry()
        self.validator = Validator(
            self.replica, self.publisher, Limits(), self.clock, Metrics(self.collectors), pause_seconds=0
        )

    def metric(self, name: str, **labels: str) -> float:
        value = self.collectors.get_sample_value(f"metering_validator_{name}_total", labels)
        return 0.0 if value is None else value

    def lag(self) -> float:
        value = self.collectors.get_sample_value("metering_validator_lag_seconds")
        assert value is not None
        return value


@pytest.fixture
def house() -> House:
    structlog.reset_defaults()
    return House()


GOOD = element(measure(NOW, ("Corriente A", 1), ("Nadie", 2), ("Corriente C", 3)))


async def test_a_raw_envelope_gives_a_validated_one_entry_by_entry_with_id_and_metadata_unchanged(house: House) -> None:
    about = [{"item": item, "items": 3, "traceparent": f"00-{item:032x}-{1:016x}-01"} for item in range(3)]
    record = raw_envelope(*(packed(GOOD, **one) for one in about), offset=7, partition=3)
    await house.validator.validate([record])
    [envelope] = house.publisher.envelopes()
    assert (envelope.id, envelope.raw) == (read_envelope(record).id, record.position)
    assert [entry.metadata for entry in envelope.entries] == [metadata(**one) for one in about]
    assert [result.counts.accepted for result in house.publisher.results()] == [1, 1, 1]


async def test_outcomes_are_packed_per_partition_over_the_whole_batch(house: House) -> None:
    ids = [UUID(int=number << 70) for number in range(60)]
    await house.validator.validate([raw_record(GOOD, batch_id=one, offset=place) for place, one in enumerate(ids)])
    records = house.publisher.of(topics.OUTCOMES)
    assert [record.partition for record in records] == sorted({partition_of(one, 12) for one in ids})
    for record in records:
        for outcome in all_outcomes(record.value or b""):
            assert partition_of(outcome.batch_id, 12) == record.partition
    assert {outcome.batch_id for outcome in house.publisher.outcomes()} == set(ids)


async def test_the_counts_go_into_the_metrics_and_into_one_line_of_the_log(house: House) -> None:
    with capture_logs() as lines:
        await house.validator.validate([raw_envelope(packed(GOOD), packed(b""))])
    assert house.metric("values", result="accepted") == 1
    assert house.metric("values", result="refused") == 1
    assert house.metric("values", result="not_taken") == 1
    assert house.metric("entries", status="validated") == 1
    assert house.metric("entries", status="dead") == 1
    assert house.metric("findings", rule="RV-03") == 1
    [line] = [line for line in lines if line["event"] == "entries.validated"]
    assert line["batch_ids"] == [str(metadata().batch_id)]
    assert (line["validated"], line["dead"], line["accepted"], line["rules"]) == (1, 1, 1, {"RV-03": 1, "RV-04": 1})


class WatchingPublisher(Publisher):
    """Looks at the age of what is in flight while it is being sent."""

    house: House
    ages: list[float]

    async def publish(self, records: Sequence[Record]) -> None:  # noqa: ARG002  a port
        self.clock.advance(5)
        self.ages.append(self.house.lag())


async def test_the_age_of_the_oldest_envelope_is_shown_while_it_is_in_flight(house: House) -> None:
    watching = WatchingPublisher(house.clock)
    watching.house, watching.ages = house, []
    collectors = house.collectors = CollectorRegistry()
    validator = Validator(house.replica, watching, Limits(), house.clock, Metrics(collectors))
    await validator.validate([raw_record(GOOD)])
    waited = house.clock.now_ms() / 1_000 - raw_record(GOOD).timestamp_ms / 1_000
    assert watching.ages == [pytest.approx(waited)]
    assert waited >= 5
    assert house.lag() == 0


async def test_a_redelivery_under_the_same_registry_produces_the_same_bytes(house: House) -> None:
    await house.validator.validate([raw_record(GOOD)])
    house.clock.advance(86_400)
    await house.validator.validate([raw_record(GOOD)])
    assert house.publisher.sent[:2] == house.publisher.sent[2:]


async def test_publishing_is_tried_again_until_all_is_acknowledged(house: House) -> None:
    house.publisher.failures = 3
    await house.validator.validate([raw_record(GOOD)])
    assert (house.publisher.calls, len(house.publisher.results())) == (4, 1)
    assert house.metric("publish_retries") == 3


async def test_a_retry_older_than_900_seconds_ends_the_process(house: House) -> None:
    house.publisher.failures = 1_000
    with pytest.raises(CannotGoOnError, match="900 s"):
        await house.validator.validate([raw_record(GOOD)])
    assert house.publisher.calls == MAX_RETRY_SECONDS / 60


async def test_an_output_that_fits_no_topic_ends_the_process(house: House) -> None:
    house.publisher.failures, house.publisher.error = 1, RecordTooLargeError("validated")
    with pytest.raises(CannotGoOnError, match="fits no topic"):
        await house.validator.validate([raw_record(GOOD)])


async def test_an_unknown_schema_version_ends_the_process_before_anything_is_sent(house: House) -> None:
    newer = raw_record(GOOD)._replace(headers=[("schema-version", b"2")])
    with pytest.raises(CannotGoOnError, match="schema version 2"):
        await house.validator.validate([raw_record(GOOD), newer])
    assert house.publisher.calls == 0


async def test_a_poison_entry_is_dead_by_itself_with_its_own_bytes_and_metadata(house: House) -> None:
    record = raw_envelope(packed(GOOD, item=0), packed(b"{", item=1), packed(GOOD, item=2), offset=7)
    await house.validator.validate([record])
    assert [one.status for one in house.publisher.results()] == [Status.VALIDATED, Status.DEAD, Status.VALIDATED]
    [letter] = house.publisher.of(topics.DEAD)
    original, note = decode_dead_letter_headers(letter.headers)
    assert (letter.value, dict(original)[METADATA]) == (b"{", encode_metadata(metadata(item=1)))
    assert str(note.position) == "measurements.raw.v1/0/7/1"
    assert [outcome.status for outcome in house.publisher.outcomes()] == [
        Status.VALIDATED,
        Status.DEAD,
        Status.VALIDATED,
    ]


@pytest.mark.parametrize("spoilt", [b"null", b"{}", b'{"batchId":7}', b'"text"'])
async def test_metadata_that_nobody_can_read_hurt_only_their_entry(house: House, spoilt: bytes) -> None:
    record = raw_envelope(packed(GOOD), packed(GOOD)._replace(metadata=spoilt), packed(GOOD), offset=7)
    await house.validator.validate([record])
    assert [one.status for one in house.publisher.results()] == [Status.VALIDATED, Status.DEAD, Status.VALIDATED]
    [envelope] = house.publisher.envelopes()
    stand_in = envelope.entries[1].metadata
    assert (stand_in.batch_id.version, stand_in.device_id, stand_in.rev, stand_in.stands_for) == (8, 0, 0, 1)
    [letter] = house.publisher.of(topics.DEAD)
    assert (letter.value, dict(letter.headers)[METADATA]) == (GOOD, spoilt)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record._replace(value=None),
        lambda record: record._replace(value=record.value[:-1]),
        lambda record: record._replace(value=record.value.replace(b'"lengths":[', b'"lengths":[1,', 1)),
        lambda record: record._replace(value=b"\xff" + record.value),
        lambda record: record._replace(headers=[*record.headers[:2], ("entries", b"4")]),
        lambda record: record._replace(headers=[("schema-version", b"one"), *record.headers[1:]]),
        lambda record: record._replace(headers=[record.headers[0], ("envelope-id", b"7"), record.headers[2]]),
    ],
)
async def test_a_frame_that_nobody_can_read_is_one_letter_and_one_row_that_closes_the_account(
    house: House, spoil: Callable[[ConsumedRecord], ConsumedRecord]
) -> None:
    record = spoil(raw_envelope(packed(GOOD), packed(GOOD), packed(GOOD), offset=7))
    await house.validator.validate([record, raw_record(GOOD, offset=8)])
    assert [one.status for one in house.publisher.results()] == [Status.DEAD, Status.VALIDATED]
    [letter] = house.publisher.of(topics.DEAD)
    original, note = decode_dead_letter_headers(letter.headers)
    assert (letter.value or None, original) == (record.value, record.headers)
    assert str(note.position) == "measurements.raw.v1/0/7"
    stand_in = house.publisher.envelopes()[0].entries[0].metadata
    assert (stand_in.batch_id.version, stand_in.device_id) == (8, 0)
    assert stand_in.stands_for == int(dict(record.headers)["entries"])


def test_the_headers_are_those_that_the_spoilers_above_count_on() -> None:
    names = [name for name, _ in envelope_headers(UUID(int=1), 3)]
    assert names == ["schema-version", "envelope-id", "entries"]


async def test_99_dead_of_a_minute_are_told_and_the_hundredth_stops_before_it_is_sent(house: House) -> None:
    await house.validator.validate([raw_record(b"{")] * 99)
    assert len(house.publisher.of(topics.DEAD)) == 99
    with pytest.raises(CannotGoOnError, match="100 of the last minute's 100 entries are dead, the last"):
        await house.validator.validate([raw_record(b"{")])
    assert len(house.publisher.of(topics.DEAD)) == 99


async def test_100_dead_among_ten_thousand_are_no_reason_to_stop(house: House) -> None:
    await house.validator.validate([raw_envelope(*[packed(element())] * 100)] * 99)
    await house.validator.validate([raw_record(b"{")] * 100)
    with pytest.raises(CannotGoOnError):
        await house.validator.validate([raw_record(b"{")])


async def test_what_is_older_than_a_minute_is_forgotten(house: House) -> None:
    await house.validator.validate([raw_record(b"{")] * 99)
    house.clock.advance(60)
    await house.validator.validate([raw_record(b"{")] * 99)


async def test_the_dictionary_follows_the_registry(house: House) -> None:
    await house.validator.validate([raw_record(GOOD)])
    added = sensor(6, "Nadie")
    house.replica.registry.apply("sensor:6", encode_document(added))
    await house.validator.validate([raw_record(GOOD)])
    rules = [outcome.rules for outcome in house.publisher.outcomes()]
    assert rules == [{"RV-03": 1}, {}]
    assert added not in SENSORS


# RegistryBarrier


def at(position: int, epoch: str = EPOCH) -> RegistryVersion:
    return RegistryVersion(epoch, position)


async def test_a_batch_waits_once_for_the_highest_position_of_its_own_epoch(house: House) -> None:
    named = [at(99), at(120), at(110), at(10**6, "a topic recreated")]
    await house.validator.validate([raw_record(GOOD, registry=version) for version in named])
    assert house.replica.waited == [(120, 2.0)]
    assert (house.metric("registry_waits"), house.metric("validated_behind")) == (1, 0)


async def test_what_is_known_already_is_not_waited_for(house: House) -> None:
    await house.validator.validate([raw_record(GOOD, registry=at(100))])
    assert house.replica.waited == []


async def test_a_position_that_never_comes_is_validated_without_counted_and_slows_only_once(house: House) -> None:
    house.replica.comes = False
    for _ in range(3):
        await house.validator.validate([raw_record(GOOD, registry=at(10**9))])
    assert house.replica.waited == [(10**9, 2.0)]
    assert house.metric("validated_behind") == 1
    assert len(house.publisher.results()) == 3


async def test_one_that_never_comes_does_not_hide_one_that_will(house: House) -> None:
    house.replica.comes = False
    await house.validator.validate([raw_record(GOOD, registry=at(10**9))])
    house.replica.comes = True
    await house.validator.validate([raw_record(GOOD, registry=at(10**9)), raw_record(GOOD, registry=at(130))])
    assert [position for position, _ in house.replica.waited] == [10**9, 130]


async def test_a_position_of_a_topic_recreated_is_not_waited_for(house: House) -> None:
    await house.validator.validate([raw_record(GOOD, registry=at(10**6, "another epoch"))])
    assert house.replica.waited == []
