"""Every values file gives manifests that a real API server takes; wrong values are refused with words that help."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from metering_cluster.binaries import definitions, program
from metering_cluster.kubectl import Kubectl, until
from metering_cluster.node import Node
from tests.deploy.chart import CHART
from tests.deploy.manifests import CASES, load, of_kind

pytestmark = pytest.mark.kubernetes

WRONG = (
    ("publicUrl=metering.example", "publicUrl"),
    ("publicUrl=https://metering.example/path", "publicUrl"),
    ("kafka.bootstrapServers=kafka", "bootstrapServers"),
    ("kafka.environment=staging", "environment"),
    ("kafka.sasl.mechanism=GSSAPI", "mechanism"),
    ("kafka.sasl.mechanism=PLAIN", "shows the password to the network"),
    ("kafka.tls.caSecret.name=ca", "one of them is a mistake"),
    ("postgresql.sslMode=prefer", "sslMode"),
    ("postgresql.sslMode=verify-full", "postgresql.caSecret.name"),
    ("postgresql.port=70000", "port"),
    ("image.digests.auth=latest", "digests"),
    ("components.validator.autoscaling.maxReplicas=100", "maxReplicas"),
    ("components.writer.autoscaling.minReplicas=9", "minReplicas 9 is above maxReplicas 8"),
    ("components.auth.settings.AUTH_DATABASE_URL=postgresql://me", "AUTH_DATABASE_URL"),
    ("components.auth.resources.limits=null", "limits"),
    ("components.ingest-api.drainSeconds=10", "unreadySeconds + 10"),
    ("components.ingest-api.replica=3", "replica"),
    ("components.ingestApi.replicas=3", "ingestApi"),
    ("security.runAsUser=0", "runAsUser"),
    ("priorityClass.create=true", "priorityClass.name"),
    ("externalSecrets.enabled=true", "externalSecrets.store.name"),
    ("ingress.controller=traefik", "controller"),
)


FIRST = ("PriorityClass", "ServiceAccount")
"""What pods refer to; helm installs them before the pods too."""


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_a_wrong_value_is_refused_by_name(wrong: str, said: str) -> None:
    values = str(CHART / "ci" / "minimal-values.yaml")
    command = [str(program("helm")), "template", "m", str(CHART), "--values", values, "--kube-version", "1.33.0"]
    done = subprocess.run([*command, "--set", wrong], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr


def test_no_address_is_made_up() -> None:
    command = [str(program("helm")), "template", "m", str(CHART), "--kube-version", "1.33.0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert {"publicUrl", "bootstrapServers", "host"} <= set(done.stderr.replace("/", " ").replace("'", " ").split())


@pytest.fixture(scope="module")
def defined(cluster: Node) -> Node:
    """The operators' own definitions, from their modules."""
    for file in definitions():
        cluster.kubectl.run("create", "--filename", str(file))
    return cluster


@pytest.fixture
def namespace(defined: Node, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """Enforced "restricted"; gone after the test."""
    name = f"values-{request.node.callspec.params['case']}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    defined.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield defined.kubectl.within(name)
    defined.kubectl.run("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("case", CASES)
def test_every_values_file_applies_and_nothing_fails_to_be_created(case: str, namespace: Kubectl) -> None:
    manifests = load(case)
    namespace.apply(*sorted(manifests, key=lambda manifest: manifest["kind"] not in FIRST))
    wanted = sum(expected_pods(manifest) for manifest in of_kind(manifests, "Deployment", "StatefulSet", "Job"))
    until("every pod is created", lambda: len(namespace.get("pods")["items"]) >= wanted, 60)
    events = namespace.get("events")["items"]
    assert [event["message"] for event in events if event["reason"] == "FailedCreate"] == []


def expected_pods(manifest: dict[str, Any]) -> int:
    """Scaled workloads begin with one."""
    return int(manifest["spec"].get("replicas", 1))


@pytest.mark.parametrize(
    "kind", ["ScaledObject", "TriggerAuthentication", "ServiceMonitor", "PrometheusRule", "ExternalSecret"]
)
def test_the_operators_definitions_notice_an_unknown_field(kind: str, defined: Node) -> None:
    [manifest, *_] = of_kind(load("production"), kind)
    manifest["spec"]["unknown"] = True
    command = ["create", "--dry-run=server", "--validate=strict", "--filename", "-"]
    done = defined.kubectl.run(*command, text=json.dumps(manifest), check=False)
    assert done.returncode != 0
    assert "unknown" in done.stderr
