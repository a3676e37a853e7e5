"""Kubernetes' own schemas, the oldest and the newest that the chart runs on, take every rendered manifest."""

from functools import cache
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource

from tests.deploy.manifests import CASES, Manifest, load, title

pytestmark = pytest.mark.fast

VERSIONS = ("v1.30.0", "v1.37.0")
OF_OPERATORS = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule", "ExternalSecret"}
"""Theirs are held to their operators' own definitions, in the cluster of make test-k8s."""


@cache
def definitions(version: str) -> Registry[Any]:
    """Read once: kubernetes_validate's own function reads these megabytes for every manifest."""
    return Resource.from_contents(contents(version, "_definitions")) @ Registry()


def contents(version: str, name: str) -> Any:
    return schema_contents(f"kubernetes-json-schema/{version}-local-strict/{name}.json", version)


def faults(manifest: Manifest, version: str) -> list[str]:
    group, _, number = manifest["apiVersion"].rpartition("/")
    name = "-".join(part for part in (manifest["kind"].lower(), group.split(".")[0], number) if part)
    validator = Draft202012Validator(contents(version, name), registry=definitions(version))
    return [f"{title(manifest)}: {error.message}" for error in validator.iter_errors(manifest)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_kubernetes_knows_every_field(case: str, version: str) -> None:
    manifests = [manifest for manifest in load(case) if manifest["kind"] not in OF_OPERATORS]
    assert [fault for manifest in manifests for fault in faults(manifest, version)] == []


def test_a_field_that_kubernetes_does_not_know_is_noticed() -> None:
    manifest = load("minimal")[0]
    assert faults(manifest | {"unknown": True}, "v1.30.0") != []
