"""JSON Schemas of what stands on the topics, for readers in other languages: generated from the code that writes it."""

from pathlib import Path
from typing import Any

import msgspec
import orjson

from metering_common.contract.messages import Outcome, Validated
from metering_common.contract.metadata import SCHEMA_VERSION
from metering_common.registry.documents import RegistryDocument

FOLDER = Path(__file__).parents[1] / "contracts" / "schemas"

_NUMBER = {"type": "string", "pattern": "^-?[0-9]+$"}
_POSITION = {"type": "string", "pattern": "^[^/]+/[0-9]+/[0-9]+$"}


class _Measure(msgspec.Struct, rename="camel"):
    timestamp: Any
    sensor_values: list[Any]


class _MeasurementElement(msgspec.Struct, rename="camel"):
    """One device's element of a measurements request: what ingest-api ensures. The rules validate what is inside."""

    device_number: str
    measures: list[_Measure]


_MESSAGES: dict[str, Any] = {
    "measurement-element": _MeasurementElement,
    "validated": Validated,
    "outcome": Outcome,
    "registry-document": RegistryDocument,
}


def generate() -> dict[str, bytes]:
    """File content by file name."""
    schemas = {name: msgspec.json.schema(message) for name, message in _MESSAGES.items()}
    schemas["record-headers"] = _record_headers()
    return {f"{name}.json": _as_file(name, schema) for name, schema in schemas.items()}


def find_differences(folder: Path = FOLDER) -> list[str]:
    """A sentence for each file that is not as it would be generated, is missing, or is nobody's."""
    generated = generate()
    found = {file.name: file.read_bytes() for file in folder.glob("*.json")}
    faults = [f"{name} is missing" for name in sorted(generated.keys() - found.keys())]
    faults += [f"{name} belongs to no message" for name in sorted(found.keys() - generated.keys())]
    both = sorted(generated.keys() & found.keys())
    return faults + [f"{name} is not what the code writes" for name in both if generated[name] != found[name]]


def write(folder: Path = FOLDER) -> None:
    """Makes the folder's files what they should be; removes those that are nobody's."""
    folder.mkdir(parents=True, exist_ok=True)
    generated = generate()
    for file in folder.glob("*.json"):
        if file.name not in generated:
            file.unlink()
    for name, content in generated.items():
        (folder / name).write_bytes(content)


def _record_headers() -> dict[str, Any]:
    """The headers of raw and validated records, each a text, as one object (headers.py)."""
    required = {
        "schema-version": {"const": str(SCHEMA_VERSION)},
        "batch-id": {"type": "string", "format": "uuid"},
        "item": _NUMBER,
        "items": _NUMBER,
        "provider-id": _NUMBER,
        "device-id": _NUMBER,
        "source": {"enum": ["http", "ecl", "replay"]},
        "received-at-ms": _NUMBER,
        "rev": _NUMBER,
        "registry-epoch": {"type": "string"},
        "registry-position": _NUMBER,
    }
    optional = {
        "gateway-id": _NUMBER,
        "traceparent": {"type": "string"},
        "clock-doubtful": {"const": "1"},
        "replays": _POSITION,
    }
    return {
        "title": "RecordHeaders",
        "description": "Kafka headers of a measurement record, each ASCII text; unknown ones are ignored.",
        "type": "object",
        "properties": required | optional,
        "required": list(required),
    }


def _as_file(name: str, schema: dict[str, Any]) -> bytes:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{name}.json"}
    return orjson.dumps(head | schema, option=orjson.OPT_INDENT_2) + b"\n"
