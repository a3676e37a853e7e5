"""docs/rules.md says what the rules say."""

from pathlib import Path

import pytest

from metering_validator.rules_page import page

pytestmark = pytest.mark.fast

RULES = Path(__file__).parents[4] / "docs" / "rules.md"


def test_the_page_is_up_to_date() -> None:
    made_by = "python -m metering_validator.rules_page > docs/rules.md"
    assert RULES.read_text() == page(), f"make it again: {made_by}"
