"""Whoever reads a comment can open the page that it names, and finds there the section that it names."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
READ = ("*.py", "*.sql", "*.yaml", "*.yml", "*.tpl", "*.toml", "*.sh", "*.json", "Makefile", "Dockerfile")
PAGE = re.compile(r"""(?<![\w/.<{"'-])([\w.][\w./-]*\.md|contracts/openapi/\w+\.yaml)\b(?:[)`]*,\s+\*(\w[\w ]*)\*)?""")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


class Named(NamedTuple):
    """A page as some file names it, and its section where one is named too."""

    by: str
    page: str
    section: str | None = None

    def places(self) -> list[Path]:
        """From the root, as code names pages, or from where the file stands."""
        return [ROOT / self.page, (ROOT / self.by).parent / self.page]


def tracked(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, check=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def pages_named() -> Iterator[Named]:
    for file in tracked(*READ):
        if file != str(Path(__file__).relative_to(ROOT)):
            for page, section in PAGE.findall((ROOT / file).read_text("utf-8")):
                yield Named(file, page, section or None)


def test_a_page_that_code_names_is_there_with_the_section_named() -> None:
    faults = []
    for named in pages_named():
        found = [place for place in named.places() if place.is_file()]
        if not found:
            faults.append(f"{named.by}: there is no {named.page}")
        elif named.section and not re.search(rf"^#+ {named.section}$", found[0].read_text("utf-8"), re.MULTILINE):
            faults.append(f"{named.by}: {named.page} has no section {named.section}")
    assert faults == []


def test_what_a_page_links_to_is_there() -> None:
    faults = [
        f"{page}: there is no {link}"
        for page in tracked("*.md")
        for link in LINK.findall((ROOT / page).read_text("utf-8"))
        if "://" not in link and not link.startswith("mailto:") and not ((ROOT / page).parent / link).exists()
    ]
    assert faults == []
