"""contracts/openapi/input.yaml is the truth: Schemathesis holds the running ingest-api against it, with every check."""

import json
import re
from typing import Any
from urllib.request import urlopen

import schemathesis
from ingest_api_support import IngestApiProcess, make_token
from schemathesis import Case
from schemathesis.config import SchemathesisConfig

from metering_ingest_api.adapters.openapi import load_definition

CONFIG = {
    "generation": {"mode": "all", "max-examples": 25, "deterministic": True, "database": "none"},
    # What no schema can say: that a device is known, that the measures of all devices are at most 100 and within a day.
    "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "404", "422"]}},
}
definition = schemathesis.openapi.from_dict(
    json.loads(load_definition()), config=SchemathesisConfig.from_dict(CONFIG)
).exclude(path="/auth/token/refresh")  # stands in this definition, is answered by auth, and held by auth's tests


def keeps_to_its_definition(case: "Case[Any]", process: IngestApiProcess) -> None:
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{process.port}/api/v1", headers={"Authorization": f"Bearer {make_token()}"}
    )


# Each operation's test has a name of its own: of tests of one name pytest-xdist runs a single one.
for found in definition.get_all_operations():
    operation = found.ok()  # type: ignore[union-attr]  # a definition that is none has no `ok`: nothing is collected then
    test = definition.include(path=operation.path, method=operation.method).parametrize()(keeps_to_its_definition)
    globals()[re.sub(r"\W+", "_", f"test_ingest_api_keeps_to {operation.label}")] = test
del test


def test_ingest_api_serves_its_definition(process: IngestApiProcess) -> None:
    with urlopen(f"http://127.0.0.1:{process.port}/api/v1/spec") as response:
        assert response.read() == load_definition()
