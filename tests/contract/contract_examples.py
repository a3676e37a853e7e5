"""contracts/examples as the tests read them: a file is a Kafka record, an envelope's entries written out."""

import json
from pathlib import Path
from typing import Any

import pytest

from metering_common.contract.envelope import ConsumedRecord, PackedEntry, pack
from metering_common.contract.metadata import KafkaHeaders, RecordPosition

EXAMPLES = Path(__file__).parents[2] / "contracts" / "examples"


def examples(kind: str, topic: str = "*") -> list[Any]:
    """`pytest.param(topic, example)` for each file."""
    return [
        pytest.param(path.parts[-3], json.loads(path.read_text()), id=f"{path.parts[-3]}/{path.stem}")
        for path in sorted(EXAMPLES.glob(f"{topic}/{kind}/*.json"))
    ]


def kafka_headers(example: dict[str, Any]) -> KafkaHeaders:
    return [(name, text.encode()) for name, text in example["headers"].items()]


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def entries(example: dict[str, Any]) -> list[PackedEntry]:
    return [PackedEntry(json_bytes(one["metadata"]), json_bytes(one["value"])) for one in example["entries"]]


def value_bytes(example: dict[str, Any]) -> bytes:
    return pack(entries(example)) if "entries" in example else json_bytes(example["value"])


def consumed(topic: str, example: dict[str, Any], offset: int = 1234) -> ConsumedRecord:
    position = RecordPosition(topic, 3, offset)
    return ConsumedRecord(position, 1_773_241_518_021, None, value_bytes(example), kafka_headers(example))
