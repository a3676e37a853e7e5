"""Import Linter refuses what the layers forbid: each service is given an import against them, in a copy, and named."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
SERVICES = ("auth", "ingest_api", "validator", "writer", "ecl_poller", "prober")
OTHERS = {service: f"metering_{other}" for service, other in zip(SERVICES, (*SERVICES[1:], SERVICES[0]), strict=True)}


class Seed(NamedTuple):
    """One import line more, in a new module of the package."""

    where: str
    imported: str


def seeds() -> list[Seed]:
    """For each service: I/O in its domain, also by way of libs/common, and every layer in one below it."""
    found = [Seed("metering_gateway.domain", "aiohttp")]
    for service in SERVICES:
        package = f"metering_{service}"
        domain, adapters = f"{package}.domain", f"{package}.adapters"
        found += [
            Seed(domain, "asyncpg"),
            Seed(domain, "metering_common.kafka.clients"),
            Seed(domain, adapters),
            Seed(domain, f"{package}.application"),
            Seed(domain, f"{package}.settings"),
            Seed(f"{package}.application", "asyncpg"),
            Seed(f"{package}.application", adapters),
            Seed(adapters, f"{package}.bootstrap"),
            Seed(adapters, OTHERS[service]),
        ]
    return found


def copy_of_sources(folder: Path) -> list[Path]:
    sources = []
    for source in sorted(ROOT.glob("*/*/src")):
        target = folder / source.relative_to(ROOT)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("contracts", "__pycache__"))
        sources.append(target)
    return sources


def plant(sources: list[Path], seed: Seed, name: str) -> str:
    """The module that now imports it: a new one in a package, the module itself where it is a file."""
    parts = seed.where.split(".")
    (place,) = [source.joinpath(*parts) for source in sources if source.joinpath(*parts[:1]).is_dir()]
    if place.is_dir():
        (place / f"{name}.py").write_text(f"import {seed.imported}\n")
        return f"{seed.where}.{name}"
    with place.with_suffix(".py").open("a") as file:
        file.write(f"\nimport {seed.imported}\n")
    return seed.where


def lint(sources: list[Path]) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sources)), "COLUMNS": "1000"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)


def test_a_copy_as_it_is_keeps_every_contract(tmp_path: Path) -> None:
    done = lint(copy_of_sources(tmp_path))
    assert done.returncode == 0, done.stdout


def test_each_import_against_the_layers_is_refused_and_named(tmp_path: Path) -> None:
    sources = copy_of_sources(tmp_path)
    planted = [(plant(sources, seed, f"seeded_{number}"), seed) for number, seed in enumerate(seeds())]
    done = lint(sources)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    missed = [
        f"{module} -> {seed.imported}"
        for module, seed in planted
        if not any(f"{module} -> {seed.imported} (" in line for line in lines)
    ]
    assert missed == []
