"""Every example under contracts/examples goes through the code that writes and reads its topic, twice."""

import json
from typing import Any

import msgspec
import pytest
from aiokafka import ConsumerRecord

from metering_common.contract import dead_letters, envelope, messages, metadata, outcomes
from metering_common.kafka import topics_cat
from metering_common.registry import documents
from tests.contract.contract_examples import consumed, entries, examples, kafka_headers, value_bytes

pytestmark = pytest.mark.fast

ENVELOPES = ("measurements.raw.v1", "measurements.validated.v1")


def round_trip_value(topic: str, value: bytes) -> bytes:
    """What the topic's consumer reads of a record, or of an entry, as its producer writes it."""
    match topic:
        case "measurements.validated.v1":
            return messages.encode_validated(messages.decode_validated(value))
        case "registry.v1":
            return documents.encode_document(documents.decode_document(value))
    return value


def without_defaults(value: Any) -> Any:
    """Encoders leave defaults out; an example may write them."""
    if isinstance(value, dict):
        kept = {key: without_defaults(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if (key, item) not in DEFAULTS}
    return [without_defaults(item) for item in value] if isinstance(value, list) else value


DEFAULTS = [("refusalsBeyond", 0), ("zone", "America/Santiago")]


@pytest.mark.parametrize(("topic", "example"), examples("valid"))
def test_a_valid_example_survives_its_codec_twice(topic: str, example: dict[str, Any]) -> None:
    values = [value for _, value in entries(example)] if "entries" in example else [value_bytes(example)]
    for value in values:
        if value != b"null":
            once = round_trip_value(topic, value)
            assert without_defaults(json.loads(once)) == without_defaults(json.loads(value))
            assert round_trip_value(topic, once) == once


@pytest.mark.parametrize(("topic", "example"), examples("valid"))
def test_the_headers_of_a_valid_example_survive(topic: str, example: dict[str, Any]) -> None:
    if topic in ENVELOPES:
        assert envelope.encode_headers(envelope.decode_headers(kafka_headers(example))) == kafka_headers(example)
    if topic == "measurements.dead.v1":
        original, note = dead_letters.decode_dead_letter_headers(kafka_headers(example))
        assert dead_letters.encode_dead_letter_headers(original, note) == kafka_headers(example)


@pytest.mark.parametrize(("topic", "example"), [each for name in ENVELOPES for each in examples("valid", name)])
def test_an_envelope_comes_apart_into_what_it_was_made_of(topic: str, example: dict[str, Any]) -> None:
    read = envelope.read_envelope(consumed(topic, example))
    assert (read.readable, len(read.entries)) == (True, int(example["headers"]["entries"]))
    assert [entry.packed for entry in read.entries] == entries(example)
    for entry, written in zip(read.entries, example["entries"], strict=True):
        assert entry.fault is None
        assert json.loads(metadata.encode_metadata(entry.metadata)) == written["metadata"]


@pytest.mark.parametrize(("topic", "example"), examples("valid", "measurements.outcomes.v1"))
def test_an_outcome_is_found_by_its_batch_id_and_packed_the_same_again(topic: str, example: dict[str, Any]) -> None:
    assert topic == "measurements.outcomes.v1"
    value = value_bytes(example)
    read = outcomes.all_outcomes(value)
    assert list(outcomes.outcomes_of(value, {str(outcome.batch_id) for outcome in read})) == read
    assert list(outcomes.outcomes_of(value, {"another"})) == []
    ((_, again),) = outcomes.pack_outcomes(read, 1)
    assert outcomes.all_outcomes(again) == read


@pytest.mark.parametrize(("topic", "example"), examples("invalid"))
def test_an_invalid_example_is_refused_with_the_error_it_names(topic: str, example: dict[str, Any]) -> None:
    errors: dict[str, type[Exception]] = {
        "MalformedHeadersError": envelope.MalformedHeadersError,
        "UnknownSchemaVersionError": envelope.UnknownSchemaVersionError,
        "DecodeError": msgspec.DecodeError,
    }
    if example["why"] in errors:
        with pytest.raises(errors[example["why"]]):
            read(topic, example)


def read(topic: str, example: dict[str, Any]) -> None:
    if topic in ENVELOPES:
        envelope.decode_headers(kafka_headers(example))
        for about, value in entries(example):
            metadata.decode_metadata(about)
            round_trip_value(topic, value)
        return
    if topic == "measurements.outcomes.v1":
        outcomes.all_outcomes(value_bytes(example))
        return
    if topic == "ecl.answers.v1":
        envelope.check_schema_version(example["headers"]["schema-version"])
    if topic == "measurements.dead.v1":
        dead_letters.decode_dead_letter_headers(kafka_headers(example))
    round_trip_value(topic, value_bytes(example))


@pytest.mark.parametrize(("topic", "example"), [each for name in ENVELOPES for each in examples("valid", name)])
def test_what_metering_topics_cat_prints_is_the_example_again(topic: str, example: dict[str, Any]) -> None:
    value, headers = value_bytes(example), kafka_headers(example)
    printed = topics_cat.shown(ConsumerRecord(topic, 3, 7, 1, 0, None, value, None, 0, len(value), tuple(headers)))
    assert (printed["position"], printed["key"]) == (f"{topic}/3/7", None)
    assert {"headers": printed["headers"], "entries": printed["entries"]} == example


def test_what_cannot_be_taken_apart_is_printed_all_the_same() -> None:
    record = ConsumerRecord(ENVELOPES[0], 3, 7, 1, 0, None, b"\xff{", None, 0, 2, ())
    printed = topics_cat.shown(record)
    assert (printed["value"], "first line" in printed["unreadable"]) == ("\\xff{", True)
