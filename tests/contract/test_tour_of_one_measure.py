"""docs/follow-one-measure.md names only what exists, and the end-to-end test walks the same steps."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
TOUR = ROOT / "docs" / "follow-one-measure.md"
WALK = ROOT / "tests" / "e2e" / "test_follow_one_measure.py"


def test_every_file_of_the_tour_exists() -> None:
    paths = re.findall(r"\]\(([^)]+)\)", TOUR.read_text())
    assert len(paths) > 20
    assert [path for path in paths if not (TOUR.parent / path).exists()] == []


def test_the_walk_has_the_headings_of_the_tour() -> None:
    headings = re.findall(r"^## (\d+\. .*)$", TOUR.read_text(), re.MULTILINE)
    assert re.findall(r"^    # (\d+\. .*)$", WALK.read_text(), re.MULTILINE) == headings


def test_every_event_of_the_tour_is_written_by_a_service() -> None:
    events = re.findall(r"Event: `([^`]+)`", TOUR.read_text())
    sources = "".join(path.read_text() for path in ROOT.glob("services/*/src/**/*.py"))
    assert len(events) == 3
    assert [event for event in events if f'"{event}"' not in sources] == []
