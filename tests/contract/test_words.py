"""The field's words: what has a name of Kafka's, PostgreSQL's, OAuth's or metering's is called by that name."""

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
PASSED_OVER = ("CHANGELOG.md", "requirements.lock", "tests/contract/test_words.py")
NOT_OURS = re.compile(
    r"judg(e|ing|ment)|verdict|\b[Tt]he doors?\b|\bDoor\b|in[ _]hand\b|InHand|\bPatience\b|OneProducer|one_producer"
    r"|[Cc]ausality|\bblame|convict|\bbur(y|ied)\b|\bfates?\b|\bFate\b|all_staged|\bfacade\b|\banew\b|\bbeliev"
    r"|what one sees|\bOutlet\b|house_commands|way of a measure"
)


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and name not in PASSED_OVER]


def test_no_file_uses_a_word_that_the_field_has_another_one_for() -> None:
    faults = []
    for name in tracked():
        try:
            lines = (ROOT / name).read_text("utf-8").splitlines()
        except (UnicodeDecodeError, OSError):  # not text, or removed
            continue
        faults += [
            f"{name}:{number}: {found[0]}" for number, line in enumerate(lines, 1) if (found := NOT_OURS.search(line))
        ]
    assert faults == []
