"""Gathers what all packages of the checkout ask of others, for `make lock`; no measure passes here.

Prints requirement lines for `uv pip compile -`. The packages ask for each other by name too, and are not in any index,
so those lines are left out.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from metering_local.checkout import ROOT

PACKAGES = ("libs/*", "services/*", "deploy/*")


def main() -> None:
    print("\n".join(sorted(set(external_requirements(ROOT)))))  # noqa: T201  it is what this command is for


def external_requirements(root: Path) -> Iterator[str]:
    """Each requirement of each package, its extras and groups included, less the packages themselves."""
    documents = [tomllib.loads(file.read_text()) for file in project_files(root)]
    ours = {document["project"]["name"] for document in documents}
    for document in documents:
        groups = document.get("dependency-groups", {}).values()
        extras = document["project"].get("optional-dependencies", {}).values()
        lists = (document["project"].get("dependencies", []), *extras, *groups)
        asked = [line for requirements in lists for line in requirements]
        yield from (line for line in asked if _name(line) not in ours)


def project_files(root: Path) -> list[Path]:
    """The root's pyproject.toml and each package's."""
    return [
        root / "pyproject.toml",
        *sorted(file for place in PACKAGES for file in root.glob(f"{place}/pyproject.toml")),
    ]


def _name(requirement: str) -> str:
    return re.split(r"[\s\[<>=!~;]", requirement, maxsplit=1)[0]


if __name__ == "__main__":
    main()
