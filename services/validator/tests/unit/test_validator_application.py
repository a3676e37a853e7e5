"""A batch from taking to letting go: what is sent, tried again, counted, and when the process must end instead."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
import structlog
from aiokafka.structs import RecordMetadata
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from validator_support.builders import (
    EPOCH,
    NOW,
    RECEIVED_AT_MS,
    SENSORS,
    documents,
    element,
    headers,
    measure,
    raw_record,
    sensor,
)

from metering_common.contract import codec, topics
from metering_common.contract.messages import Status
from metering_common.contract.metadata import RegistryVersion, encode_headers
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

    async def publish(self, records: Sequence[Record]) -> list[RecordMetadata]:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            self.clock.advance(60)
            raise self.error
        self.sent.extend(records)
        return []


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


async def test_each_raw_record_gives_one_validated_record_and_one_outcome_with_its_headers_unchanged(
    house: House,
) -> None:
    await house.validator.validate([raw_record(GOOD, offset=0), raw_record(GOOD, offset=1)])
    assert [record.topic for record in house.publisher.sent] == [topics.VALIDATED, topics.OUTCOMES] * 2
    validated, outcome = house.publisher.sent[:2]
    assert (validated.key, validated.headers) == (b"29", encode_headers(headers()))
    assert (outcome.key, outcome.headers) == (str(headers().batch_id).encode(), [])


async def test_the_counts_go_into_the_metrics_and_into_one_line_of_the_log(house: House) -> None:
    with capture_logs() as lines:
        await house.validator.validate([raw_record(GOOD), raw_record(None)])
    assert house.metric("values", result="accepted") == 1
    assert house.metric("values", result="refused") == 1
    assert house.metric("values", result="not_taken") == 1
    assert house.metric("records", status="validated") == 1
    assert house.metric("records", status="dead") == 1
    assert house.metric("findings", rule="RV-03") == 1
    [line] = [line for line in lines if line["event"] == "records.validated"]
    assert line["batch_ids"] == [str(headers().batch_id)]
    assert (line["validated"], line["dead"], line["accepted"], line["rules"]) == (1, 1, 1, {"RV-03": 1, "RV-04": 1})


class WatchingPublisher(Publisher):
    """Looks at the age of what is in flight while it is being sent."""

    house: House
    ages: list[float]

    async def publish(self, records: Sequence[Record]) -> list[RecordMetadata]:  # noqa: ARG002  a port
        self.clock.advance(5)
        self.ages.append(self.house.lag())
        return []


async def test_the_age_of_the_oldest_record_is_shown_while_it_is_in_flight(house: House) -> None:
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
    assert (house.publisher.calls, len(house.publisher.sent)) == (4, 2)
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


async def test_a_dead_record_goes_to_the_dead_letters_with_its_own_bytes_and_headers(house: House) -> None:
    await house.validator.validate([raw_record(b"{", offset=7)])
    letter, validated, _outcome = house.publisher.sent
    assert (letter.topic, letter.key, letter.value) == (topics.DEAD, b"29", b"{")
    assert letter.headers[: len(validated.headers)] == validated.headers
    assert dict(letter.headers)["dead-source"] == b"measurements.raw.v1/0/7"
    assert codec.decode_validated(validated.value or b"").status is Status.DEAD


async def test_99_dead_of_a_minute_are_told_and_the_hundredth_stops_before_it_is_sent(house: House) -> None:
    await house.validator.validate([raw_record(b"{")] * 99)
    assert len(house.publisher.sent) == 3 * 99
    with pytest.raises(CannotGoOnError, match="1 %"):
        await house.validator.validate([raw_record(b"{")])
    assert len(house.publisher.sent) == 3 * 99


async def test_100_dead_among_ten_thousand_are_no_reason_to_stop(house: House) -> None:
    await house.validator.validate([raw_record(element())] * 9_900)
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
    rules = [codec.decode_outcome(record.value or b"").rules for record in house.publisher.sent[1::2]]
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
    assert len(house.publisher.sent) == 6


async def test_one_that_never_comes_does_not_hide_one_that_will(house: House) -> None:
    house.replica.comes = False
    await house.validator.validate([raw_record(GOOD, registry=at(10**9))])
    house.replica.comes = True
    await house.validator.validate([raw_record(GOOD, registry=at(10**9)), raw_record(GOOD, registry=at(130))])
    assert [position for position, _ in house.replica.waited] == [10**9, 130]


async def test_a_position_of_a_topic_recreated_is_not_waited_for(house: House) -> None:
    await house.validator.validate([raw_record(GOOD, registry=at(10**6, "another epoch"))])
    assert house.replica.waited == []
