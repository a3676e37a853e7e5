"""contracts/schemas says what the code writes: they are equal, the examples hold them, and wrong ones do not."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from metering_common.contract import schemas, topics
from metering_common.kafka import topics_cli

pytestmark = pytest.mark.fast

EXAMPLES = schemas.FOLDER.parent / "examples"
VALIDATORS = {
    name.removesuffix(".json"): jsonschema.Draft202012Validator(
        json.loads(content), format_checker=jsonschema.FormatChecker(["uuid"])
    )
    for name, content in schemas.generate().items()
}


def examples(kind: str) -> list[Any]:
    return [
        pytest.param(path.parts[-3], json.loads(path.read_text()), id=f"{path.parts[-3]}/{path.stem}")
        for path in sorted(EXAMPLES.glob(f"*/{kind}/*.json"))
    ]


def violations(topic: str, example: dict[str, Any]) -> list[str]:
    contract = topics.load_contracts()[topic]
    errors: list[str] = []
    if contract.schema != "none" and example["value"] is not None:
        errors += [error.message for error in VALIDATORS[contract.schema].iter_errors(example["value"])]
    if contract.headers == "record":
        errors += [error.message for error in VALIDATORS["record-headers"].iter_errors(example["headers"])]
    return errors


def test_the_committed_schemas_are_what_the_code_writes() -> None:
    assert schemas.find_differences() == []
    assert topics_cli.main(["schemas"]) == 0


def test_every_schema_that_a_topic_names_is_there() -> None:
    named = {contract.schema for contract in topics.load_contracts().values()} - {"none"}
    assert named <= VALIDATORS.keys()


@pytest.mark.parametrize("name", VALIDATORS)
def test_each_is_a_schema(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATORS[name].schema)


@pytest.mark.parametrize(("topic", "example"), examples("valid"))
def test_valid_examples_hold_their_schema(topic: str, example: dict[str, Any]) -> None:
    assert violations(topic, example) == []


@pytest.mark.parametrize(("topic", "example"), examples("invalid"))
def test_invalid_examples_break_their_schema(topic: str, example: dict[str, Any]) -> None:
    if topics.load_contracts()[topic].schema != "none":
        assert violations(topic, example)


def test_differences_are_told_and_written_away(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    (tmp_path / "validated.json").write_text("{}")
    (tmp_path / "outcome.json").unlink()
    (tmp_path / "stranger.json").write_text("{}")
    assert schemas.find_differences(tmp_path) == [
        "outcome.json is missing",
        "stranger.json belongs to no message",
        "validated.json is not what the code writes",
    ]
    schemas.write(tmp_path)
    assert schemas.find_differences(tmp_path) == []
