"""The pages for integrators are what their sources make of them, and both languages state the same facts."""

import json
import re
from pathlib import Path

import pytest

from docs.integrators import guides, postman
from metering_gateway.daemon.config import load_config

pytestmark = pytest.mark.fast

FOLDER = Path(guides.__file__).parent


@pytest.mark.parametrize("language", list(guides.PAGES))
def test_the_guides_are_current(language: str) -> None:
    assert guides.PAGES[language].read_text() == guides.page(language), "run: python docs/integrators/guides.py"


def test_both_languages_use_the_same_facts_in_the_same_order_and_all_of_them() -> None:
    assert guides.used("en") == guides.used("es")
    assert set(guides.used("en")) == set(guides.facts())


def test_both_languages_have_the_same_sections_and_tables() -> None:
    shapes = [
        re.findall(r"^(#+ [0-9.]*|\||[0-9]\.|- \[ \])", guides.text(language), re.MULTILINE)
        for language in ("en", "es")
    ]
    assert shapes[0] == shapes[1]


def test_the_postman_collection_is_current() -> None:
    assert postman.PAGE.read_text() == postman.text(), "run: python docs/integrators/postman.py"
    names = {item["request"]["url"]["raw"] for item in json.loads(postman.text())["item"]}
    assert "{{baseUrl}}/api/v1/devices/number/:number" in names


def test_the_sample_configuration_is_right() -> None:
    assert [source.kind for source in load_config(FOLDER / "gateway.toml").sources] == [
        "lines",
        "folder",
        "modbus",
        "mqtt",
    ]
