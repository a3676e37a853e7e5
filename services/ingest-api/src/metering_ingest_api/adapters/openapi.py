"""`GET /spec`: contracts/openapi/input.yaml is the truth, told as JSON."""

from importlib.resources import files

import orjson
import yaml


def load_definition() -> bytes:
    """The definition of all published endpoints, OpenAPI 3.1."""
    text = (files("metering_common") / "contracts" / "openapi" / "input.yaml").read_text("utf-8")
    return orjson.dumps(yaml.safe_load(text))
