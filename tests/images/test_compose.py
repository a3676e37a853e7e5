"""docker-compose.yml brought up for real: order, wiring, the demo's client through the front door, a stop of each."""

import asyncio
import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest
import yaml

from metering_common.topics import load_contracts
from metering_local.checkout import ROOT
from metering_local.compose import make_env
from metering_local.demo_account import QUERIES, Account, faults, read_account
from metering_local.demo_house import BAD_MEASURES, FILE, House, read_house, today_at_the_house
from metering_local.demo_site import Site, register_site, store_bad_measures
from metering_local.process import free_port
from tests.images.engine import Engine
from tests.images.platform import Containers

pytestmark = pytest.mark.docker
OURS = ("auth", "ingest-api-1", "ingest-api-2", "validator", "writer", "ecl-poller", "prober")
STORED_SECONDS = 240
BROKERS = ("kafka-1", "kafka-2", "kafka-3")
KAFKAS = ("KAFKA", "KAFKA_2", "KAFKA_3")


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
    site = await asyncio.to_thread(register_site, tmp_path, containers.tools(), lambda _sentence: None)
    await asyncio.to_thread(store_bad_measures, site, lambda _sentence: None)
    house = read_house(today_at_the_house())
    summary = await asyncio.to_thread(replay, site)
    account = await account_when_stored(site, house, summary)
    assert faults(account, house) == []


def replay(site: Site) -> dict[str, Any]:
    options = ["--mapping", str(site.folder / "mapping.json"), "--speed", "max", "--end", "yesterday"]
    command = site.gateway("replay", str(FILE), *options, "--give-up-after", str(STORED_SECONDS))
    done = subprocess.run(command, env=site.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


async def account_when_stored(site: Site, house: House, summary: dict[str, Any]) -> Account:
    connection = await asyncpg.connect(site.environment["METERING_DATABASE_URL"])
    try:
        for _ in range(STORED_SECONDS):
            row = await connection.fetchrow(QUERIES["progress"], site.provider)
            if row and row["values"] >= house.values + len(BAD_MEASURES) and row["devices"] == len(site.devices):
                break
            await asyncio.sleep(1)
        return await read_account(connection, site, summary)
    finally:
        await connection.close()


def test_prometheus_sees_every_replica(containers: Containers) -> None:
    address = containers.engine.docker("port", containers.id("prometheus"), "9090").splitlines()[0]
    wanted = {"auth": 1, "ingest-api": 2, "validator": 1, "writer": 1, "ecl-poller": 1, "prober": 1}
    found: dict[str, int] = {}
    for _ in range(60):  # it looks each 15 s
        query = urlencode({"query": "sum by (job) (up)"})
        with urllib.request.urlopen(f"http://{address}/api/v1/query?{query}", timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
        found = {each["metric"]["job"]: int(each["value"][1]) for each in result}
        if found.items() >= wanted.items():
            break
        time.sleep(1)
    assert found.items() >= wanted.items()


def test_the_prober_sees_its_series_come_in_whole(containers: Containers) -> None:
    command = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090/metrics').read().decode())"
    for _ in range(120):
        text = containers.compose("exec", "-T", "prober", "python", "-c", command)
        if re.search(r'^metering_prober_probes_total{result="ok"} [1-9]', text, re.MULTILINE):
            return
        time.sleep(1)
    raise AssertionError("\n".join(line for line in text.splitlines() if line.startswith("metering_prober")))


def test_it_can_be_brought_up_again(containers: Containers) -> None:
    before = {service: containers.id(service) for service in OURS}
    containers.up()
    assert {service: containers.id(service) for service in OURS} == before


def test_a_gateway_reaches_nothing_but_the_front_door(containers: Containers) -> None:
    published = {
        service: containers.inspect(service)["NetworkSettings"]["Ports"] for service in (*OURS, "caddy", "kafka-1")
    }
    for service in OURS:
        assert not any(published[service].values()), service
    hosts = [
        binding["HostIp"] for ports in published.values() for bindings in ports.values() for binding in bindings or []
    ]
    assert set(hosts) == {"127.0.0.1"}


@pytest.mark.parametrize("service", OURS)
def test_stopped_it_drains_and_comes_back(containers: Containers, service: str) -> None:
    container = containers.id(service)
    containers.engine.docker("stop", "-t", "60", container)
    state = containers.inspect_id(container)["State"]
    assert state["ExitCode"] == 0, containers.engine.run("logs", "--tail=20", container).stdout
    containers.engine.docker("start", container)
    deadline = time.monotonic() + 120
    while containers.inspect_id(container)["State"]["Health"]["Status"] != "healthy":
        assert time.monotonic() < deadline, containers.logs()
        time.sleep(1)


def test_three_brokers_hold_the_contracts_of_production(images: Engine, tmp_path: Path) -> None:
    env_file = tmp_path / "env"
    env_file.write_text(
        "METERING_VERSION=latest\n" + "".join(f"METERING_{name}_PORT={free_port()}\n" for name in KAFKAS)
    )
    make_env(env_file, brokers="3")
    three = Containers(images, env_file, images.environment | {"COMPOSE_PROJECT_NAME": "metering-three"})
    try:
        three.compose("up", "-d", "--no-build", *BROKERS)
        three.compose("run", "--rm", "topics")
        done = three.compose("run", "--rm", "--entrypoint", "metering-topics", "topics", "check", "--json")
        faults_of = {row["topic"]: row["faults"] for row in json.loads(done[done.index("[") :])}
        assert faults_of == {name: [] for name in load_contracts()}
    finally:
        three.remove()
