"""docker-compose.yml brought up for real: order, wiring, the demo's client through the public API, a stop of each."""

import json
import time
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from metering_local.checkout import ROOT
from tests.images.client import faults_of_the_demo
from tests.images.platform import Containers

pytestmark = pytest.mark.docker
OURS = ("auth", "ingest-api-1", "ingest-api-2", "validator", "writer", "ecl-poller", "prober")
LATE_SECONDS = 60
"""What the prober calls late is its own test's; beside other work a container machine is slow."""


def test_every_service_of_ours_is_ready_and_closed(containers: Containers) -> None:
    for service in OURS:
        found = containers.inspect(service)
        assert found["State"]["Health"]["Status"] == "healthy", service
        host = found["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Privileged"]) == (True, ["ALL"], False)
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0


def test_nobody_started_before_what_it_waits_for(containers: Containers) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name in (*OURS, "caddy"):
        began = containers.inspect(name)["State"]["StartedAt"]
        for needed, how in services[name]["depends_on"].items():
            state = containers.inspect(needed)["State"]
            completed = how["condition"] == "service_completed_successfully"
            assert began > (state["FinishedAt"] if completed else state["StartedAt"]), (name, needed)


async def test_the_demos_client_sends_and_everything_is_stored(containers: Containers, tmp_path: Path) -> None:
    assert await faults_of_the_demo(tmp_path, containers.tools()) == []


def test_prometheus_sees_every_replica_and_has_the_rules(containers: Containers) -> None:
    address = containers.published("prometheus", 9090)
    wanted = {"auth": 1, "ingest-api": 2, "validator": 1, "writer": 1, "ecl-poller": 1, "prober": 1}
    found: dict[str, float] = {}
    for _ in range(60):  # it looks each 15 s
        found = {series["job"]: value for series, value in asked(address, "sum by (job) (up)")}
        if found.items() >= wanted.items():
            break
        time.sleep(1)
    assert found.items() >= wanted.items()
    rules = [rule for group in got(f"http://{address}/api/v1/rules")["data"]["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}  # unknown: not yet its turn
    assert {"alerting", "recording"} == {rule["type"] for rule in rules}


def test_the_prober_sees_its_series_come_in_whole_and_prometheus_hears_how_late(containers: Containers) -> None:
    address = containers.published("prometheus", 9090)
    for _ in range(150):
        probes = {series["result"]: value for series, value in asked(address, "metering_prober_probes_total")}
        if probes.get("ok"):
            break
        time.sleep(1)
    assert probes.get("ok"), containers.compose("logs", "--tail=20", "prober")
    ((_, late),) = asked(address, "metering_prober_queryable_seconds_sum / metering_prober_queryable_seconds_count")
    assert 0 < late < LATE_SECONDS


def test_grafana_reaches_its_data_sources_and_has_every_dashboard(containers: Containers) -> None:
    address = f"http://{containers.published('grafana', 3000)}/api"
    secret = f"admin:{containers.variables()['GRAFANA_ADMIN_PASSWORD']}".encode()
    admin = {"authorization": f"Basic {b64encode(secret).decode()}"}
    sources = {source["uid"] for source in got(f"{address}/datasources", admin)}
    assert sources == {"metering-prometheus", "metering-sql"}
    for uid in sources:
        assert got(f"{address}/datasources/uid/{uid}/health", admin)["status"] == "OK"
    files = (ROOT / "deploy/observability/dashboards").glob("*.json")
    wanted = {json.loads(file.read_text())["uid"] for file in files}
    assert {found["uid"] for found in got(f"{address}/search?type=dash-db", admin)} == wanted


def asked(address: str, query: str) -> list[tuple[dict[str, str], float]]:
    """What Prometheus answers: labels and value of each series."""
    answer = got(f"http://{address}/api/v1/query?{urlencode({'query': query})}")
    return [(series["metric"], float(series["value"][1])) for series in answer["data"]["result"]]


def got(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> Any:
    """The JSON at `url`; HTTPError if it is refused."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers)), timeout=15) as answer:
        return json.load(answer)


def test_it_can_be_brought_up_again(containers: Containers) -> None:
    before = {service: containers.id(service) for service in OURS}
    containers.up()
    assert {service: containers.id(service) for service in OURS} == before


def test_a_gateway_reaches_nothing_but_the_public_api(containers: Containers) -> None:
    published = {
        service: containers.inspect(service)["NetworkSettings"]["Ports"] for service in (*OURS, "caddy", "kafka-1")
    }
    for service in OURS:
        assert not any(published[service].values()), service
    hosts = [
        binding["HostIp"] for ports in published.values() for bindings in ports.values() for binding in bindings or []
    ]
    assert set(hosts) == {"127.0.0.1"}


@pytest.mark.parametrize("service", [*OURS, "caddy"])
def test_stopped_it_drains_within_its_grace_and_comes_back(containers: Containers, service: str) -> None:
    container = containers.id(service)
    containers.compose("stop", service)  # kills it after its stop_grace_period: status 137
    state = containers.inspect_id(container)["State"]
    assert state["ExitCode"] == 0, containers.engine.run("logs", "--tail=20", container).stdout
    containers.engine.docker("start", container)
    deadline = time.monotonic() + 120
    while containers.inspect_id(container)["State"]["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, containers.logs()
        time.sleep(1)
