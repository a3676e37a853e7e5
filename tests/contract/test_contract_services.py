"""Every example goes through the services that write and read its topic: ingest-api to registry replica."""

from typing import Any

import pytest
from aiokafka import ConsumerRecord

from metering_common.contract import envelope
from metering_common.contract.envelope import ConsumedRecord, UnknownSchemaVersionError
from metering_common.contract.messages import Status
from metering_common.contract.metadata import EntryMetadata, RecordPosition
from metering_common.contract.outcomes import all_outcomes
from metering_common.registry.documents import Device, Sensor, SensorKind, encode_document
from metering_common.registry.memory import Registry
from metering_ecl_poller.adapters.kafka import answers
from metering_ingest_api.domain import batch_results, elements
from metering_validator.domain.context import Context, Limits
from metering_validator.domain.dictionary import Dictionary
from metering_validator.envelope_results import outcome_records, validate_envelope, validated_record
from metering_writer.adapters import decode
from metering_writer.domain.entries import ValidatedEntry
from tests.contract.contract_examples import consumed, entries, examples, kafka_headers, value_bytes

pytestmark = pytest.mark.fast

RAW, VALIDATED, ANSWERS = "measurements.raw.v1", "measurements.validated.v1", "ecl.answers.v1"
SENSORS = [
    Sensor(id=6, position=6, name="Corriente A", unit="A", kind=SensorKind.INSTANTANEOUS),
    Sensor(
        id=3, position=3, name="Energía activa acumulada", alias="EACTIVE", unit="kWh", kind=SensorKind.ACCUMULATING
    ),
]
DEVICE = Device(id=29, provider=1, number="29", sensors=(3, 6))


def context_of(metadata: EntryMetadata) -> Context:
    return Context(metadata, DEVICE, Dictionary(SENSORS), Limits())


def validated_by_the_validator(example: dict[str, Any]) -> tuple[ConsumedRecord, bytes]:
    """What the validator writes of a raw example: validated envelope and outcomes."""
    result = validate_envelope(envelope.read_envelope(consumed(RAW, example)), context_of)
    sent = validated_record(result)
    (outcomes,) = outcome_records([result], 1)
    at = RecordPosition(VALIDATED, 3, 7)
    return ConsumedRecord(at, 1_773_241_518_021, None, sent.value, sent.headers), outcomes.value or b""


def read_by_the_writer(record: ConsumedRecord) -> list[ValidatedEntry]:
    value = record.value or b""
    arrived = ConsumerRecord(
        VALIDATED, 3, 7, record.timestamp_ms, 0, None, value, None, 2, len(value), tuple(record.headers)
    )
    return decode.decode(arrived)


@pytest.mark.parametrize(("topic", "example"), examples("valid", RAW))
def test_ingest_api_would_enqueue_these_very_bytes(topic: str, example: dict[str, Any]) -> None:
    assert topic == RAW
    values = [value for _, value in entries(example)]
    document = elements.split(b"[" + b",".join(values) + b"]", uncharged)
    assert [element.value for element in document.elements] == values


def uncharged(_bytes: int) -> None:
    """What a body costs is no matter here."""


@pytest.mark.parametrize(
    ("topic", "example"), [each for each in examples("invalid", RAW) if each.values[1]["why"] == "element"]
)
def test_ingest_api_refuses_what_is_no_element(topic: str, example: dict[str, Any]) -> None:
    assert topic == RAW
    (packed,) = entries(example)
    with pytest.raises(elements.ShapeError):
        elements.split(b"[" + packed.value + b"]", uncharged)


@pytest.mark.parametrize(("topic", "example"), examples("valid", RAW))
def test_what_the_validator_makes_of_it_the_writer_and_ingest_api_read(topic: str, example: dict[str, Any]) -> None:
    once, again = validated_by_the_validator(example), validated_by_the_validator(example)
    assert once == again
    raw = envelope.read_envelope(consumed(topic, example))
    stored = read_by_the_writer(once[0])
    assert [entry.metadata for entry in stored] == [entry.metadata for entry in raw.entries]
    assert [entry.raw for entry in stored] == [raw.raw_position(index) for index in range(len(stored))]
    assert {(entry.fault, entry.validated.status) for entry in stored} == {(None, Status.VALIDATED)}
    outcomes = all_outcomes(once[1])
    assert [outcome.counts for outcome in outcomes] == [entry.validated.counts for entry in stored]
    by_batch = {one.batch_id: [each for each in outcomes if each.batch_id == one.batch_id] for one in outcomes}
    assert all(batch_results.is_complete(of_one) for of_one in by_batch.values())


@pytest.mark.parametrize(("topic", "example"), examples("valid", VALIDATED))
def test_the_writer_reads_every_validated_entry_alike_each_time(topic: str, example: dict[str, Any]) -> None:
    record = consumed(topic, example)
    assert [entry.fault for entry in read_by_the_writer(record)] == [None] * len(example["entries"])
    assert read_by_the_writer(record) == read_by_the_writer(record)


@pytest.mark.parametrize(("topic", "example"), examples("invalid", VALIDATED))
def test_an_unreadable_validated_entry_is_dead_with_its_fault(topic: str, example: dict[str, Any]) -> None:
    (entry,) = read_by_the_writer(consumed(topic, example))
    assert entry.fault is not None


def test_the_replica_holds_every_document_of_the_examples_twice_the_same() -> None:
    registry = Registry()
    for _ in range(2):
        for parameter in examples("valid", "registry.v1"):
            example = parameter.values[1]
            registry.apply(example["key"], None if example["value"] is None else value_bytes(example))
    stored = {encode_document(document) for document in registry.documents()}
    assert len(stored) == len([each for each in examples("valid", "registry.v1") if each.values[1]["value"]])


@pytest.mark.parametrize(("topic", "example"), examples("valid", ANSWERS))
def test_a_kept_answer_of_the_portal_comes_back_as_it_was(topic: str, example: dict[str, Any]) -> None:
    assert topic == ANSWERS
    kept = answers.from_record(kafka_headers(example), value_bytes(example))
    record = answers.to_record(kept.answer, kept.mapping_version)
    assert (record.key, record.value) == (example["key"].encode(), value_bytes(example))
    assert sorted(record.headers) == sorted(kafka_headers(example))
    assert answers.from_record(record.headers, record.value or b"") == kept


@pytest.mark.parametrize(("topic", "example"), examples("invalid", ANSWERS))
def test_what_is_no_kept_answer_is_refused(topic: str, example: dict[str, Any]) -> None:
    assert topic == ANSWERS
    errors = {"KeyError": KeyError, "ValueError": ValueError}
    with pytest.raises(errors.get(example["why"], UnknownSchemaVersionError)):
        answers.from_record(kafka_headers(example), value_bytes(example))
