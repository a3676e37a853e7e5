"""Each folder `given_…` holds what comes in, the registry and the clock as files, and what is expected of them.

`comes_in.json` is the record's value, byte for byte; `given.json` says in a sentence what the case is about and holds
received-at (the only clock) and the headers that matter; `registry.json` is the registry's documents; `expected.json`
is the validated record and the outcome. A folder with `registry_mended.json` and `expected_after_replay.json` is
validated again, as a replay.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from validator_support.builders import headers

from metering_common.contract import codec
from metering_common.contract.metadata import RecordHeaders, RecordPosition
from metering_common.contract.topics import RAW
from metering_common.registry.documents import Device, Sensor, decode_document
from metering_validator.domain.columns import validate_by_columns
from metering_validator.domain.context import Context, Limits
from metering_validator.domain.dictionary import Dictionary
from metering_validator.domain.validation import validate

pytestmark = pytest.mark.fast

FOLDERS = sorted(Path(__file__).parent.glob("given_*"))
REPLAYED = [folder for folder in FOLDERS if (folder / "registry_mended.json").exists()]


def stamped(given: dict[str, Any]) -> RecordHeaders:
    received_at = datetime.fromisoformat(given["receivedAt"])
    return headers(received_at_ms=round(received_at.timestamp() * 1_000), **given.get("headers", {}))


def case(folder: Path, registry: str, **header_changes: Any) -> tuple[bytes, Context]:
    given = json.loads((folder / "given.json").read_text())
    record = msgspec.structs.replace(stamped(given), **header_changes)
    documents = [decode_document(msgspec.json.encode(each)) for each in json.loads((folder / registry).read_text())]
    devices = {each.id: each for each in documents if isinstance(each, Device)}
    dictionary = Dictionary(each for each in documents if isinstance(each, Sensor))
    at = RecordPosition(RAW, 3, 1234)
    value = (folder / "comes_in.json").read_bytes()
    return value, Context(record, at, devices.get(record.device_id), dictionary, Limits())


def validated_with(folder: Path, registry: str, **header_changes: Any) -> Any:
    result = validate(*case(folder, registry, **header_changes))
    return {
        "validated": json.loads(codec.encode(result.validated)),
        "outcome": json.loads(codec.encode(result.outcome)),
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_given(folder: Path) -> None:
    assert validated_with(folder, "registry.json") == json.loads((folder / "expected.json").read_text())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_given_what_is_clean_takes_the_quick_way(folder: Path) -> None:
    took_it = validate_by_columns(*case(folder, "registry.json")) is not None
    assert took_it == json.loads((folder / "given.json").read_text())["quickWay"]


@pytest.mark.parametrize("folder", REPLAYED, ids=lambda folder: folder.name)
def test_given_and_replayed_after_the_registry_was_mended(folder: Path) -> None:
    again = validated_with(folder, "registry_mended.json", source="replay", replays=RecordPosition(RAW, 3, 1234))
    assert again == json.loads((folder / "expected_after_replay.json").read_text())


def test_the_days_on_which_clocks_change_are_among_them() -> None:
    names = {folder.name for folder in FOLDERS}
    assert {
        f"given_the_{hours}_hour_day_of_{country}" for hours in (23, 25) for country in ("chile", "denmark")
    } <= names
