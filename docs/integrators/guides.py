# ruff: noqa: INP001  a script that writes pages
"""Writes the integrator's guide in both languages from one source of facts: guide/facts.toml."""

import re
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
PAGES = {"en": HERE / "guide.md", "es": HERE.parent / "es" / "guia-del-integrador.md"}
_FACT = re.compile(r"\{\{(\w+)\}\}")


def facts() -> dict[str, str]:
    """Numbers and examples by name."""
    return {name: str(fact) for name, fact in tomllib.loads((HERE / "guide" / "facts.toml").read_text()).items()}


def text(language: str) -> str:
    """The words of one language, with a mark for each fact."""
    return (HERE / "guide" / f"{language}.md.in").read_text()


def used(language: str) -> list[str]:
    """The facts that a language's words use, in their order."""
    return _FACT.findall(text(language))


def page(language: str) -> str:
    """Raises KeyError for a fact that does not exist."""
    known = facts()
    return _FACT.sub(lambda match: known[match.group(1)], text(language))


if __name__ == "__main__":
    for language, path in PAGES.items():
        path.write_text(page(language))
