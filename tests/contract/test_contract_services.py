"""Every example goes through the services that write and read its topic: ingest-api to registry replica."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord

from metering_common.contract import codec, metadata
from metering_common.contract.messages import Status
from metering_common.contract.metadata import RecordPosition
from metering_common.registry.documents import Device, Sensor, SensorKind, encode_document
from metering_common.registry.memory import Registry
from metering_ecl_poller.adapters.kafka import answers
from metering_ingest_api.domain import batch_results, elements
from metering_validator.domain.context import Context, Limits
from metering_validator.domain.dictionary import Dictionary
from metering_validator.record_results import RawRecord, validate_record
from metering_writer.adapters import decode

pytestmark = pytest.mark.fast

EXAMPLES = Path(__file__).parents[2] / "contracts" / "examples"
RAW, VALIDATED, OUTCOMES = "measurements.raw.v1", "measurements.validated.v1", "measurements.outcomes.v1"
SENSORS = [
    Sensor(id=6, position=6, name="Corriente A", unit="A", kind=SensorKind.INSTANTANEOUS),
    Sensor(
        id=3, position=3, name="Energía activa acumulada", alias="EACTIVE", unit="kWh", kind=SensorKind.ACCUMULATING
    ),
]
DEVICE = Device(id=29, provider=1, number="29", sensors=(3, 6))


def examples(topic: str, kind: str) -> list[Any]:
    paths = sorted(EXAMPLES.glob(f"{topic}/{kind}/*.json"))
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in paths]


def kafka_headers(example: dict[str, Any]) -> metadata.KafkaHeaders:
    return [(name, text.encode()) for name, text in example["headers"].items()]


def value_bytes(example: dict[str, Any]) -> bytes:
    return json.dumps(example["value"], ensure_ascii=False).encode()


def validated_by_the_validator(example: dict[str, Any]) -> tuple[bytes, bytes]:
    """The bytes that the validator writes of a raw example: validated record and outcome."""
    record = RawRecord(RecordPosition(RAW, 3, 1234), 0, b"29", value_bytes(example), kafka_headers(example))
    context = Context(metadata.decode_headers(record.headers), record.position, DEVICE, Dictionary(SENSORS), Limits())
    outputs = {output.topic: output.value or b"" for output in validate_record(record, context, 0).outputs}
    return outputs[VALIDATED], outputs[OUTCOMES]


def consumed(value: bytes, kafka_headers: metadata.KafkaHeaders) -> Any:
    return ConsumerRecord(VALIDATED, 3, 7, 1773241518021, 0, b"29", value, None, 2, len(value), tuple(kafka_headers))


def uncharged(_bytes: int) -> None:
    """What a body costs is no matter here."""


@pytest.mark.parametrize("example", examples(RAW, "valid"))
def test_ingest_api_would_enqueue_these_very_bytes(example: dict[str, Any]) -> None:
    value = value_bytes(example)
    document = elements.split(b"[" + value + b"," + value + b"]", uncharged)
    assert [element.value for element in document.elements] == [value, value]


@pytest.mark.parametrize("example", [each for each in examples(RAW, "invalid") if each.values[0]["why"] == "element"])
def test_ingest_api_refuses_what_is_no_element(example: dict[str, Any]) -> None:
    with pytest.raises(elements.ShapeError):
        elements.split(b"[" + value_bytes(example) + b"]", uncharged)


@pytest.mark.parametrize("example", examples(RAW, "valid"))
def test_what_the_validator_makes_of_it_the_writer_and_ingest_api_read(example: dict[str, Any]) -> None:
    once, again = validated_by_the_validator(example), validated_by_the_validator(example)
    assert once == again
    record = decode.decode(consumed(once[0], kafka_headers(example)))
    assert (record.fault, record.validated.status) == (None, Status.VALIDATED)
    outcome = codec.decode_outcome(once[1])
    assert outcome.counts == record.validated.counts
    assert batch_results.is_complete([outcome])


@pytest.mark.parametrize("example", examples(VALIDATED, "valid"))
def test_the_writer_reads_every_validated_record_alike_each_time(example: dict[str, Any]) -> None:
    arrived = consumed(value_bytes(example), kafka_headers(example))
    assert decode.decode(arrived).fault is None
    assert decode.decode(arrived) == decode.decode(arrived)


@pytest.mark.parametrize("example", examples(VALIDATED, "invalid"))
def test_an_unreadable_validated_record_is_dead_with_its_fault(example: dict[str, Any]) -> None:
    assert decode.decode(consumed(value_bytes(example), kafka_headers(example))).fault is not None


def test_the_replica_holds_every_document_of_the_examples_twice_the_same() -> None:
    registry = Registry()
    for _ in range(2):
        for parameter in examples("registry.v1", "valid"):
            example = parameter.values[0]
            registry.apply(example["key"], None if example["value"] is None else value_bytes(example))
    stored = {encode_document(document) for document in registry.documents()}
    assert len(stored) == len([each for each in examples("registry.v1", "valid") if each.values[0]["value"]])


@pytest.mark.parametrize("example", examples("ecl.answers.v1", "valid"))
def test_a_kept_answer_of_the_portal_comes_back_as_it_was(example: dict[str, Any]) -> None:
    kept = answers.from_record(kafka_headers(example), value_bytes(example))
    record = answers.to_record(kept.answer, kept.mapping_version)
    assert (record.key, record.value) == (example["key"].encode(), value_bytes(example))
    assert sorted(record.headers) == sorted(kafka_headers(example))
    assert answers.from_record(record.headers, record.value or b"") == kept


@pytest.mark.parametrize("example", examples("ecl.answers.v1", "invalid"))
def test_what_is_no_kept_answer_is_refused(example: dict[str, Any]) -> None:
    errors = {"KeyError": KeyError, "ValueError": ValueError}
    with pytest.raises(errors.get(example["why"], metadata.UnknownSchemaVersionError)):
        answers.from_record(kafka_headers(example), value_bytes(example))
