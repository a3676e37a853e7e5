"""The version and the list of packages each stand in one place; everything else reads or is held to it here."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from metering_local.checkout import ROOT
from metering_local.lock import project_files

pytestmark = pytest.mark.fast

VERSION = (ROOT / "VERSION").read_text().strip()
PACKAGES = project_files(ROOT)[1:]


@pytest.mark.parametrize("project", PACKAGES, ids=lambda file: file.parent.name)
def test_a_package_takes_its_version_from_the_file(project: Path) -> None:
    document = tomllib.loads(project.read_text())
    assert document["project"]["dynamic"] == ["version"]
    assert document["tool"]["hatch"]["version"]["path"] == "../../VERSION"
    assert version(document["project"]["name"]) == VERSION


def test_the_chart_installs_this_version() -> None:
    assert yaml.safe_load((ROOT / "deploy/k8s/metering/Chart.yaml").read_text())["appVersion"] == VERSION


def test_import_linter_knows_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    found = {folder.name for project in PACKAGES for folder in project.parent.glob("src/metering_*")}
    assert set(settings["root_packages"]) == found
