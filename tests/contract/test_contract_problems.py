"""The problem codes and the limits that the published definitions name are those of the code."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from metering_common.contract import limits
from metering_common.http import bodies
from metering_common.http.problems import TITLES
from metering_ingest_api.domain import elements
from metering_ingest_api.settings import IngestSettings

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
SETTINGS = IngestSettings.model_fields


def definition(name: str) -> Any:
    return yaml.safe_load((ROOT / "contracts" / "openapi" / f"{name}.yaml").read_text("utf-8"))


def codes(name: str) -> list[str]:
    problem = definition(name)["components"]["schemas"]["Problem"]
    return list(problem["properties"]["code"]["enum"])


def used_in(package: str) -> set[str]:
    text = "".join(path.read_text("utf-8") for path in (ROOT / package).rglob("*.py"))
    return {code for code in TITLES if f'"{code}"' in text}


def test_the_input_api_lists_the_whole_dictionary() -> None:
    assert codes("input") == list(TITLES)


def test_auth_lists_the_codes_that_it_uses() -> None:
    shared = {"body_too_slow", "body_too_large", "unsupported_content_encoding"}  # of metering_common.http.bodies
    assert set(codes("auth")) == used_in("services/auth/src") | shared


def test_every_code_is_used() -> None:
    rates = {f"rate_{unit}" for unit in ("requests", "bytes", "values")}
    too_many = {f"too_many_{what}" for what in ("measures", "values")}
    bodies_alone = {"body_too_slow", "body_too_large", "malformed_gzip", "unsupported_content_encoding"}
    everywhere = used_in("services/auth/src") | used_in("services/ingest-api/src") | bodies_alone
    assert everywhere | rates | too_many == set(TITLES)


def in_thousands(number: float) -> str:
    return f"{int(number):,}"


PUBLISHED = {
    "measures": f"{limits.MAX_MEASURES} measures and {in_thousands(limits.MAX_VALUES)} values",
    "span": f"{in_thousands(limits.MAX_SPAN_SECONDS)} s between",
    "body": f"{SETTINGS['max_body_bytes'].default >> 20} MiB of JSON",
    "gzip": f"{SETTINGS['max_wire_bytes'].default >> 10} KiB and {bodies.MAX_GZIP_MEMBERS} members",
    "bare words": f"{elements.MAX_STANDARD_BYTES >> 10} KiB where it holds the bare words",
    "free": f"as it likes for {SETTINGS['body_seconds'].default} s",
    "pace": f"{SETTINGS['body_bytes_per_second'].default} bytes a second or more",
    "longest": f"within {SETTINGS['body_max_seconds'].default // 60} minutes",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_limits_are_those_of_the_code(name: str) -> None:
    description = " ".join(definition("input")["info"]["description"].split())
    assert PUBLISHED[name] in description


def test_the_guide_in_spanish_names_the_same_limits() -> None:
    guide = (ROOT / "docs" / "es" / "guia-del-integrador.md").read_text("utf-8")
    for number in (limits.MAX_VALUES, limits.MAX_SPAN_SECONDS):
        assert in_thousands(number).replace(",", " ") in guide
    for text in ("16 miembros", "256 KiB", "250 bytes por segundo", "10 minutos", "too_many_values", "share_in_flight"):
        assert text in guide
