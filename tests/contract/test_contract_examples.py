"""Every example under contracts/examples goes through the code that writes and reads its topic, twice."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from metering_common.contract import codec, metadata
from metering_common.registry import documents

pytestmark = pytest.mark.fast

EXAMPLES = Path(__file__).parents[2] / "contracts" / "examples"
RECORD_TOPICS = ("measurements.raw.v1", "measurements.validated.v1")


def examples(kind: str) -> list[Any]:
    paths = sorted(EXAMPLES.glob(f"*/{kind}/*.json"))
    return [
        pytest.param(path.parts[-3], json.loads(path.read_text()), id=f"{path.parts[-3]}/{path.stem}") for path in paths
    ]


def kafka_headers(example: dict[str, Any]) -> metadata.KafkaHeaders:
    return [(name, text.encode()) for name, text in example["headers"].items()]


def value_bytes(example: dict[str, Any]) -> bytes:
    return json.dumps(example["value"], ensure_ascii=False).encode()


def round_trip_value(topic: str, value: bytes) -> bytes:
    """What the topic's consumer reads, as its producer writes it."""
    match topic:
        case "measurements.validated.v1":
            return codec.encode(codec.decode_validated(value))
        case "measurements.outcomes.v1":
            return codec.encode(codec.decode_outcome(value))
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
    if example["value"] is None:
        return
    once = round_trip_value(topic, value_bytes(example))
    assert without_defaults(json.loads(once)) == without_defaults(example["value"])
    assert round_trip_value(topic, once) == once


@pytest.mark.parametrize(("topic", "example"), examples("valid"))
def test_the_headers_of_a_valid_example_survive(topic: str, example: dict[str, Any]) -> None:
    if topic in RECORD_TOPICS:
        assert dict(metadata.encode_headers(metadata.decode_headers(kafka_headers(example)))) == dict(
            kafka_headers(example)
        )
    if topic == "measurements.dead.v1":
        original, note = metadata.decode_dead_letter_headers(kafka_headers(example))
        assert metadata.encode_dead_letter_headers(original, note) == kafka_headers(example)


@pytest.mark.parametrize(("topic", "example"), examples("invalid"))
def test_an_invalid_example_is_refused_with_the_error_it_names(topic: str, example: dict[str, Any]) -> None:
    errors: dict[str, type[Exception]] = {
        "MalformedHeadersError": metadata.MalformedHeadersError,
        "UnknownSchemaVersionError": metadata.UnknownSchemaVersionError,
        "DecodeError": msgspec.DecodeError,
    }
    if example["why"] in errors:
        with pytest.raises(errors[example["why"]]):
            read(topic, example)


def read(topic: str, example: dict[str, Any]) -> None:
    if topic in RECORD_TOPICS:
        metadata.decode_headers(kafka_headers(example))
    if topic == "ecl.answers.v1":
        metadata.check_schema_version(example["headers"]["schema-version"])
    if topic == "measurements.dead.v1":
        metadata.decode_dead_letter_headers(kafka_headers(example))
    round_trip_value(topic, value_bytes(example))
