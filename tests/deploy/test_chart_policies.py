"""The rendered manifests hold every policy, and every policy notices a manifest that does not."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy import policies
from tests.deploy.manifests import CASES, Manifest, load, of_kind
from tests.deploy.policies import POLICIES, Policy

pytestmark = pytest.mark.fast

Damage = Callable[[Manifest], Any]


def pod(workload: Manifest) -> Manifest:
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Manifest) -> Manifest:
    first: Manifest = pod(workload)["containers"][0]
    return first


DAMAGES: list[tuple[Policy, str, Damage]] = [
    (policies.restricted, "Deployment", lambda it: pod(it)["securityContext"].update(runAsNonRoot=False)),
    (policies.restricted, "Deployment", lambda it: pod(it)["securityContext"].update(runAsUser=0)),
    (policies.restricted, "StatefulSet", lambda it: pod(it)["securityContext"].pop("seccompProfile")),
    (policies.restricted, "Job", lambda it: pod(it).update(hostNetwork=True)),
    (policies.restricted, "Deployment", lambda it: pod(it)["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    (policies.restricted, "Job", lambda it: container(it)["securityContext"].pop("readOnlyRootFilesystem")),
    (policies.restricted, "Deployment", lambda it: container(it)["securityContext"].pop("allowPrivilegeEscalation")),
    (policies.restricted, "StatefulSet", lambda it: container(it)["securityContext"].pop("capabilities")),
    (policies.no_token, "Job", lambda it: pod(it).pop("automountServiceAccountToken")),
    (policies.no_token, "Deployment", lambda it: pod(it).pop("enableServiceLinks")),
    (policies.no_token, "ServiceAccount", lambda it: it.update(automountServiceAccountToken=True)),
    (policies.no_token, "ServiceAccount", lambda it: it.update(kind="RoleBinding")),
    (policies.bounded, "Deployment", lambda it: container(it)["resources"]["requests"].pop("memory")),
    (policies.bounded, "Job", lambda it: container(it)["resources"].pop("limits")),
    (policies.probed, "Deployment", lambda it: container(it)["livenessProbe"]["httpGet"].update(path="/readyz")),
    (policies.probed, "StatefulSet", lambda it: container(it)["startupProbe"].update(failureThreshold=3)),
    (policies.probed, "StatefulSet", lambda it: container(it)["livenessProbe"].update(failureThreshold=1)),
    (policies.drained, "Deployment", lambda it: pod(it).update(terminationGracePeriodSeconds=20)),
    (policies.budgeted, "PodDisruptionBudget", lambda it: it["spec"].update(maxUnavailable=0)),
    (policies.budgeted, "PodDisruptionBudget", lambda it: it["spec"]["selector"].update(matchLabels={})),
    (policies.secrets_by_reference, "ServiceAccount", lambda it: it.update(kind="Secret")),
    (
        policies.secrets_by_reference,
        "StatefulSet",
        lambda it: container(it)["env"].append({"name": "KAFKA_SASL_PASSWORD", "value": "text"}),
    ),
    (
        policies.secrets_by_reference,
        "StatefulSet",
        lambda it: container(it)["env"].append({"name": "X_DATABASE_URL", "value": "postgresql://me:text@host/x"}),
    ),
    (policies.steady, "StatefulSet", lambda it: it["spec"].pop("replicas")),
    (policies.steady, "StatefulSet", lambda it: container(it).update(env=[])),
    (policies.spread, "Deployment", lambda it: pod(it).pop("topologySpreadConstraints")),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("case", CASES)
def test_the_rendered_manifests_hold_the_policy(case: str, policy: Policy) -> None:
    assert list(policy(load(case))) == []


@pytest.mark.parametrize(("policy", "kind", "damage"), DAMAGES)
def test_a_policy_notices_what_breaks_it(policy: Policy, kind: str, damage: Damage) -> None:
    manifests = load("minimal")
    damage(of_kind(manifests, kind)[0])
    assert list(policy(manifests)) != []


@pytest.mark.parametrize(
    "damage", [lambda it: it["spec"].update(maxReplicas=1_000), lambda it: it["spec"].pop("behavior")]
)
def test_the_policy_of_scaling_notices_what_breaks_it(damage: Damage) -> None:
    manifests = load("production")
    scaler = of_kind(manifests, "HorizontalPodAutoscaler")[0]
    scaler["spec"]["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": {"scaleDown": {}}}}
    damage(scaler)
    assert list(policies.sane_scaling(manifests)) != []


def test_every_component_is_there_as_what_it_must_be() -> None:
    kinds = {
        manifest["metadata"]["labels"]["app.kubernetes.io/component"]: manifest["kind"]
        for manifest in of_kind(load("production"), "Deployment", "StatefulSet")
    }
    stateless = dict.fromkeys(("ingest-api", "auth", "registers", "ecl-poller", "prober"), "Deployment")
    assert kinds == stateless | dict.fromkeys(("validator", "writer"), "StatefulSet")


def test_jobs_are_hooks_before_install_and_upgrade() -> None:
    for case in CASES:
        for job in of_kind(load(case), "Job"):
            assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_the_alerts_are_part_of_the_chart() -> None:
    rules = of_kind(load("production"), "PrometheusRule")
    assert rules
    assert all(rule["spec"]["groups"] for rule in rules)
