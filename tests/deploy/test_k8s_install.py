"""A fresh install in a restricted namespace: everything runs, and what the demo's house sends arrives once."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.stand.release import COMPONENTS, NAME, NAMESPACE, Release
from tests.e2e.house import build_house, rows_in_the_file
from tests.e2e.platform import Platform, eventually

pytestmark = pytest.mark.kubernetes

LOOK = """
import os
print(os.getuid(), os.access("/opt/metering", os.W_OK), os.path.exists("/var/run/secrets/kubernetes.io"))
"""
MAY_NOT = (
    ("get", "secrets"),
    ("list", "pods"),
    ("create", "pods"),
    ("create", "pods/exec"),
    ("get", "configmaps"),
    ("update", "deployments.apps"),
    ("create", "serviceaccounts/token"),
    ("escalate", "roles.rbac.authorization.k8s.io"),
)


def test_every_pod_runs_restricted_and_nothing_failed_to_be_created(release: Release) -> None:
    for component in COMPONENTS:
        assert len(release.pods(component)) == 2
    assert release.failed_creations() == []
    assert set(release.restarts().values()) == {0}


def test_a_pod_is_nobody_and_writes_nowhere(release: Release) -> None:
    for component in COMPONENTS:
        pod = release.pods(component)[0]["metadata"]["name"]
        seen = release.kubectl.run("exec", pod, "--", "python", "-c", LOOK).stdout.split()
        assert seen == ["10001", "False", "False"]


async def test_what_the_demos_house_sends_through_the_services_arrives_once(platform: Platform, tmp_path: Path) -> None:
    house = build_house(platform, "on Kubernetes")
    house.log_in(tmp_path / "gateway", "gateway")
    with house.replay(tmp_path / "gateway") as process:
        printed, _ = process.communicate(timeout=240)
    assert process.returncode == 0, printed
    assert json.loads(printed)["closes"]
    await eventually(house.rows, lambda rows: len(rows) == rows_in_the_file(), seconds=120)


def test_no_service_account_may_do_anything(release: Release) -> None:
    """What `kubectl auth can-i` asks, all of it in one call."""
    questions = [review(component, *asked) for component in COMPONENTS for asked in MAY_NOT]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": questions})
    answered = release.kubectl.run("create", "--filename", "-", "--output", "jsonpath={.status.allowed} ", text=listed)
    assert answered.stdout.split() == ["false"] * len(questions)


def test_the_question_itself_is_answered_with_yes_where_somebody_may(release: Release) -> None:
    assert release.kubectl.run("auth", "can-i", "get", "secrets").stdout.strip() == "yes"
    account = f"system:serviceaccount:{release.kubectl.namespace}:{NAME}-auth"
    asked = release.kubectl.run("auth", "can-i", "get", "secrets", "--as", account, check=False)
    assert asked.stdout.strip() == "no"


def review(component: str, verb: str, resource: str) -> dict[str, Any]:
    kind, _, sub = resource.partition("/")
    kind, _, group = kind.partition(".")
    where = {"namespace": NAMESPACE, "verb": verb, "group": group, "resource": kind, "subresource": sub}
    user = {"user": f"system:serviceaccount:{NAMESPACE}:{NAME}-{component}", "groups": ["system:serviceaccounts"]}
    spec = user | {"resourceAttributes": where}
    return {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}


def test_a_drain_takes_one_pod_of_each_and_is_stopped_by_the_budgets(release: Release) -> None:
    node = release.node.kubectl
    before = {component: len(release.pods(component)) for component in COMPONENTS}
    try:
        drained = node.run("drain", "n1", "--delete-emptydir-data", "--timeout=20s", check=False)
        assert drained.returncode != 0
        assert "disruption budget" in drained.stderr
        left = {component: len(running(release, component)) for component in COMPONENTS}
        assert left == {component: count - 1 for component, count in before.items()}
    finally:
        node.run("uncordon", "n1")
        release.await_ready()


def running(release: Release, component: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in release.pods(component) if pod["status"]["phase"] == "Running"]
