"""JSON Schemas of what stands on the topics, for readers in other languages: generated from the code that writes it."""

from pathlib import Path
from typing import Any

import msgspec
import orjson

from metering_common.contract.envelope import EnvelopeHeaders
from metering_common.contract.messages import Outcome, Validated
from metering_common.contract.metadata import EntryMetadata
from metering_common.registry.documents import RegistryDocument

FOLDER = Path(__file__).parents[1] / "contracts" / "schemas"


class _Measure(msgspec.Struct, rename="camel"):
    timestamp: Any
    sensor_values: list[Any]


class _MeasurementElement(msgspec.Struct, rename="camel"):
    """One device's element of a measurements request: what ingest-api ensures. The rules validate what is inside."""

    device_number: str
    measures: list[_Measure]


_MESSAGES: dict[str, Any] = {
    "entry-metadata": EntryMetadata,
    "measurement-element": _MeasurementElement,
    "validated": Validated,
    "outcome": Outcome,
    "registry-document": RegistryDocument,
}


def generate() -> dict[str, bytes]:
    """File content by file name."""
    schemas = {name: msgspec.json.schema(message) for name, message in _MESSAGES.items()}
    schemas["envelope-headers"] = _as_texts(msgspec.json.schema(EnvelopeHeaders))
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


def _as_texts(schema: dict[str, Any]) -> dict[str, Any]:
    """Of what travels in Kafka's headers, where a number is ASCII text too."""
    for definition in schema["$defs"].values():
        for name, field in definition["properties"].items():
            if "enum" in field:
                definition["properties"][name] = {"enum": [str(value) for value in field["enum"]]}
            elif field.get("type") == "integer":
                definition["properties"][name] = {"type": "string", "pattern": "^[0-9]+$"}
    return schema


def _as_file(name: str, schema: dict[str, Any]) -> bytes:
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"{name}.json"}
    return orjson.dumps(head | schema, option=orjson.OPT_INDENT_2) + b"\n"
