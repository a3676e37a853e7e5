"""The NetworkPolicies allow what the picture of the README shows and nothing else: read as a cluster reads them."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.manifests import CASES, Manifest, load, of_kind, pods, selects

pytestmark = pytest.mark.fast

KAFKA, DATABASE, DNS, PORTAL, FRONT, TRACES = "Kafka", "PostgreSQL", "DNS", "the portal", "the public API", "traces"
API, ADMIN = 8080, 9090
MAY_SEND = {
    "ingest-api": {KAFKA, DNS},
    "auth": {KAFKA, DATABASE, DNS},
    "validator": {KAFKA, DNS},
    "writer": {KAFKA, DATABASE, DNS},
    "registers": {DATABASE, DNS},
    "ecl-poller": {KAFKA, DATABASE, DNS, PORTAL},
    "prober": {DATABASE, DNS, FRONT},
    "topics": {KAFKA, DNS},
    "migrations": {DATABASE, DNS},
}
JOBS = ("topics", "migrations")
MAY_BE_ASKED = {
    "ingest-api": {API, ADMIN},
    "auth": {API, ADMIN},
    "validator": {ADMIN},
    "writer": {ADMIN},
    "registers": {ADMIN},
    "ecl-poller": {ADMIN},
    "prober": {ADMIN},
    "topics": set[int](),
    "migrations": set[int](),
}
PORTS = {53: DNS, 443: PORTAL, 5432: DATABASE, 9092: KAFKA, 9093: KAFKA, 4318: TRACES} | dict.fromkeys(
    (80, 8080, 8443), FRONT
)


def rules(manifests: list[Manifest], labels: dict[str, str], direction: str) -> Iterator[dict[str, Any]]:
    """What is allowed for pods with these labels; without a policy for them everything would be."""
    policies = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy")]
    own = [policy for policy in policies if selects(policy["podSelector"], labels)]
    assert any(direction.capitalize() in policy["policyTypes"] for policy in own), f"{labels}: {direction} is open"
    for policy in own:
        yield from policy.get(direction, [])


def components(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, str]]]:
    for _, template in pods(manifests):
        labels = template["metadata"]["labels"]
        yield labels["app.kubernetes.io/component"], labels


@pytest.mark.parametrize("case", CASES)
def test_each_component_sends_where_the_picture_says(case: str) -> None:
    manifests = load(case)
    for component, labels in components(manifests):
        ports = [port["port"] for rule in rules(manifests, labels, "egress") for port in rule["ports"]]
        sends = {PORTS[port] for port in ports} - ({PORTAL} if component == "prober" else set())  # HTTPS, to ingest-api
        traces = {TRACES} if case == "production" and component not in JOBS else set()
        assert sends == MAY_SEND[component] | traces, component


@pytest.mark.parametrize("case", CASES)
def test_each_component_is_asked_by_whom_the_picture_says(case: str) -> None:
    manifests = load(case)
    for component, labels in components(manifests):
        incoming = list(rules(manifests, labels, "ingress"))
        assert {port["port"] for rule in incoming for port in rule["ports"]} == MAY_BE_ASKED[component], component
        assert all(rule["from"] for rule in incoming), f"{component} may be asked by anybody"


def test_production_names_every_peer() -> None:
    manifests = load("production")
    for component, labels in components(manifests):
        assert all(rule["to"] for rule in rules(manifests, labels, "egress")), component


def test_the_portal_is_sought_outside_private_networks_only() -> None:
    manifests = load("production")
    labels = dict(components(manifests))["ecl-poller"]
    [portal] = [
        rule for rule in rules(manifests, labels, "egress") if rule["ports"] == [{"port": 443, "protocol": "TCP"}]
    ]
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} <= set(portal["to"][0]["ipBlock"]["except"])


def test_the_ingress_sends_the_published_paths_where_they_belong() -> None:
    for case in ("production", "openshift"):
        [ingress] = of_kind(load(case), "Ingress")
        paths = {
            path["path"]: path["backend"]["service"]["name"]
            for rule in ingress["spec"]["rules"]
            for path in rule["http"]["paths"]
        }
        auth, ingest_api = "metering-auth", "metering-ingest-api"
        assert paths == {"/api/v1/auth/": auth, "/oauth/": auth, "/.well-known/": auth, "/": ingest_api}


def test_the_ingress_bounds_requests_and_repeats_none() -> None:
    [ingress] = of_kind(load("production"), "Ingress")
    terms = ingress["metadata"]["annotations"]
    prefix = "nginx.ingress.kubernetes.io"
    assert terms[f"{prefix}/proxy-next-upstream"] == "off"
    assert terms[f"{prefix}/proxy-body-size"] == "1m"
    assert {f"{prefix}/proxy-{kind}-timeout" for kind in ("connect", "send", "read")} <= terms.keys()
