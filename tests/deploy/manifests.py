"""The committed manifests of the chart, as tests look at them: one folder of deploy/k8s/rendered per values file."""

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import yaml

RENDERED = Path(__file__).parents[2] / "deploy" / "k8s" / "rendered"
CASES = ("minimal", "production", "openshift")

Manifest = dict[str, Any]


def load(case: str) -> list[Manifest]:
    """Every manifest of one values file; the caller's own, to do with as it likes."""
    return deepcopy(_read(case))


@cache
def _read(case: str) -> list[Manifest]:
    files = sorted((RENDERED / case).glob("*.yaml"))
    return [manifest for file in files for manifest in yaml.safe_load_all(file.read_text()) if manifest]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def title(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def pods(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Each workload or Job with the template of its pods."""
    for manifest in of_kind(manifests, "Deployment", "StatefulSet", "Job"):
        yield manifest, manifest["spec"]["template"]


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a selector of matchLabels finds these labels; an empty one finds everything."""
    return bool(selector.get("matchLabels", {}).items() <= labels.items())
