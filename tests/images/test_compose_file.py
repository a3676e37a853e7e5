"""What of docker-compose.yml can be known without bringing it up."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from metering_local.caddyfile import compose_caddyfile
from metering_local.checkout import ROOT
from metering_local.compose import make_env

pytestmark = pytest.mark.fast
TEXT = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(TEXT)["services"]
BROKERS = {"kafka-1", "kafka-2", "kafka-3"}
WRITABLE = BROKERS | {"postgres"}
"""Images of others whose entrypoints write their configuration; the file says so at each."""
ONCE = {"topics", "databases", "migrate-auth", "migrate-storage", "migrate-ecl", "dictionary"}
NEEDS_NOBODY = BROKERS | {"postgres", "prometheus"}
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


@each_service
def test_it_has_limits_and_can_gain_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only", False) is (name not in WRITABLE)
    assert service["logging"]["options"]["max-size"]


@each_service
def test_it_waits_for_what_it_needs_to_be_healthy_or_done(name: str) -> None:
    service = SERVICES[name]
    assert ("depends_on" in service) is (name not in NEEDS_NOBODY)
    for needed, how in service.get("depends_on", {}).items():
        wanted = "service_completed_successfully" if needed in ONCE else "service_healthy"
        assert how == {"condition": wanted}, needed
    assert ("test" in service["healthcheck"]) is (name not in ONCE)
    assert (service["restart"] == "no") is (name in ONCE)


@each_service
def test_its_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert re.fullmatch(r"metering/[a-z-]+:\$\{METERING_VERSION:-dev\}|[a-z/]+:v?\d+(\.\d+){2}(-[a-z0-9]+)?", image)
    if image.startswith("metering/"):
        assert image.startswith(f"metering/{SERVICES[name]['build']['args']['SERVICE']}:")


@each_service
def test_it_listens_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_no_secret_has_a_default(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|_KEY$|_URL$|_KEY_PREVIOUS$", variable) and not re.match(
            "http://(prometheus|caddy):", str(value)
        ):
            secret = re.sub(r"^postgresql://\w+:(.*)@postgres/\w+\?sslmode=disable$", r"\1", value)
            assert re.fullmatch(r"\$\{[A-Z_]+(:\?[^}]*|:-)?\}", secret), variable


def test_every_service_of_ours_is_in_it() -> None:
    folders = {file.parent.name for file in ROOT.glob("services/*/pyproject.toml")}
    built = {service["build"]["args"]["SERVICE"] for service in SERVICES.values() if "build" in service}
    assert folders | {"jobs"} <= built
    assert [name for name in SERVICES if name.startswith("ingest-api")] == ["ingest-api-1", "ingest-api-2"]


def test_the_profile_adds_two_brokers_and_nothing_else() -> None:
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["three-brokers"]} == {
        "kafka-2",
        "kafka-3",
    }


def test_the_balancers_file_is_the_one_that_is_generated() -> None:
    assert (ROOT / "deploy/docker/Caddyfile").read_text() == compose_caddyfile()


def test_the_env_has_every_variable_and_secrets_that_are_made_once(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    first = make_env(file)
    asked = set(re.findall(r"\$\{([A-Z_]+):\?", TEXT))
    assert asked <= first.keys()
    assert make_env(file) == first
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".env.shell").stat().st_mode & 0o777 == 0o600
    secrets = {value for name, value in first.items() if re.search("PASSWORD|_KEY$", name)}
    assert len(secrets) == sum(bool(re.search("PASSWORD|_KEY$", name)) for name in first)
    assert secrets.isdisjoint(make_env(tmp_path / "another.env").values())


def test_three_brokers_are_one_quorum_with_the_contracts_of_production(tmp_path: Path) -> None:
    variables = make_env(tmp_path / ".env", brokers="3")
    assert variables["COMPOSE_PROFILES"] == "three-brokers"
    assert variables["KAFKA_ENVIRONMENT"] == "production"
    assert {voter.split("@")[1].split(":")[0] for voter in variables["KAFKA_QUORUM"].split(",")} == BROKERS
