"""`make compose-up|compose-down`: docker-compose.yml with secrets of its own, until a measure can come in."""

import argparse
import base64
import json
import os
import secrets
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from metering_jobs.databases import ROLES
from metering_local.checkout import ROOT
from metering_local.cli import run_command
from metering_local.compose_prober import enrol_prober
from metering_local.errors import EnvironmentProblemError
from metering_local.login import login_name
from metering_local.stack import write_private

HEALTHY_SECONDS = 600
PORTS = {"METERING_API_PORT": "18080", "METERING_POSTGRES_PORT": "15432", "METERING_KAFKA_PORT": "19092"}
THREE = {
    "COMPOSE_PROFILES": "three-brokers",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9092,kafka-3:9092",
    "KAFKA_QUORUM": "1@kafka-1:9093,2@kafka-2:9093,3@kafka-3:9093",
    "KAFKA_REPLICATION": "3",
    "KAFKA_MIN_ISR": "2",
    "KAFKA_ENVIRONMENT": "production",
}
"""What makes one Kafka of three brokers: replication 3 with two in sync, as in production."""


def main() -> int:
    """0 when every container is healthy (`up`) or gone (`down`)."""
    parser = argparse.ArgumentParser(prog="metering-compose")
    parser.add_argument("command", choices=["env", "up", "down"])
    parser.add_argument("--brokers", choices=["1", "3"], default="1")
    parser.add_argument("--env-file", type=Path, default=ROOT / ".env")
    parser.add_argument("--no-build", action="store_true", help="the images are there already")
    options = parser.parse_args()
    return run_command(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    variables = make_env(options.env_file, brokers=options.brokers)
    compose = [*compose_command(), "--project-directory", str(ROOT), "--env-file", str(options.env_file)]
    if options.command == "up":
        _call([*compose, "up", "-d", "--no-build" if options.no_build else "--build"])
        _await_health(compose)
        enrol_prober(compose)
        where = f"{variables['METERING_API_URL']}; `. {_shell_file(options.env_file)}` for the tools"
        print(f"The platform is ready at {where}.")  # noqa: T201  it is what the command is for
    if options.command == "down":
        _call([*compose, "down"])
    return 0


def make_env(file: Path, brokers: str = "1") -> dict[str, str]:
    """The variables of `file` (mode 600), with random ones for those that it lacks; what is there stays.

    Beside it a file for shells, with which the tools of this checkout reach the platform.
    """
    found = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line) if file.exists() else {}
    variables = _fresh() | (THREE if brokers == "3" else {}) | found
    variables["METERING_API_URL"] = f"http://127.0.0.1:{variables['METERING_API_PORT']}"
    write_private(file, "".join(f"{name}={value}\n" for name, value in variables.items()))
    exports = [f"export {name}={shlex.quote(value)}\n" for name, value in _for_tools(variables).items()]
    write_private(_shell_file(file), "# Written by `make compose-up`.\n" + "".join(exports))
    return variables


def image_of(service: str) -> str:
    """The image that docker-compose.yml names for a service: tests run on what is run."""
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return str(services[service]["image"])


def compose_command() -> list[str]:
    """`docker compose` where the plugin is, else `docker-compose`. EnvironmentProblemError without either."""
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0:  # noqa: S603  fixed
        return [docker, "compose"]
    if found := shutil.which("docker-compose"):
        return [found]
    raise EnvironmentProblemError("neither `docker compose` nor `docker-compose` is here")


def _fresh() -> dict[str, str]:
    def key() -> str:
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()

    passwords = [f"{role.upper()}_PASSWORD" for role in ROLES]
    return {
        **PORTS,
        "KAFKA_CLUSTER_ID": base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="),
        **{name: secrets.token_urlsafe(24) for name in ["POSTGRES_PASSWORD", *passwords, "GRAFANA_ADMIN_PASSWORD"]},
        "AUTH_KEY_ENCRYPTION_KEY": key(),
        "ECL_KEY_ENCRYPTION_KEY": key(),
    }


def _for_tools(variables: Mapping[str, str]) -> dict[str, str]:
    def dsn(role: str, database: str) -> str:
        password, port = variables[f"{role.upper()}_PASSWORD"], variables["METERING_POSTGRES_PORT"]
        return f"postgresql://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable"

    return {
        "METERING_API_URL": variables["METERING_API_URL"],
        "METERING_DATABASE_URL": dsn("storage_reader", "storage"),
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{variables['METERING_KAFKA_PORT']}",
        "KAFKA_ENVIRONMENT": variables.get("KAFKA_ENVIRONMENT", "laptop"),
        "METERING_OPERATOR": login_name(),
        "AUTH_DATABASE_URL": dsn("auth_service", "auth"),
        "AUTH_KEY_ENCRYPTION_KEY": variables["AUTH_KEY_ENCRYPTION_KEY"],
        "WRITER_DATABASE_URL": dsn("storage_writer", "storage"),
        "ECL_DATABASE_URL": dsn("ecl_service", "ecl"),
        "ECL_KEY_ENCRYPTION_KEY": variables["ECL_KEY_ENCRYPTION_KEY"],
    }


def _shell_file(env_file: Path) -> Path:
    return env_file.with_name(f"{env_file.name}.shell")


def _call(command: list[str]) -> None:
    environment = os.environ | {"DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1"}
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:  # noqa: S603  ours
        raise EnvironmentProblemError(f"`{shlex.join(command)}` failed; its words stand above")


def _await_health(compose: list[str]) -> None:
    """A container is healthy, or has ended with 0, or has no health check."""
    deadline = time.monotonic() + HEALTHY_SECONDS
    while waiting := _not_healthy(compose):
        if time.monotonic() > deadline:
            raise EnvironmentProblemError(f"not healthy after {HEALTHY_SECONDS} s: {', '.join(waiting)}")
        time.sleep(1)


def _not_healthy(compose: list[str]) -> list[str]:
    ids = subprocess.run([*compose, "ps", "-aq"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()  # noqa: S603
    told = subprocess.run(["docker", "inspect", *ids], capture_output=True, text=True, check=True).stdout  # noqa: S603, S607
    states = {container["Name"].lstrip("/"): container["State"] for container in json.loads(told)}
    return [name for name, state in states.items() if not _is_well(state)]


def _is_well(state: Mapping[str, object]) -> bool:
    if state["Status"] == "exited":
        return state["ExitCode"] == 0
    health = state.get("Health")
    return state["Status"] == "running" and (not isinstance(health, dict) or health["Status"] == "healthy")


if __name__ == "__main__":
    raise SystemExit(main())
