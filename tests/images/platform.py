"""The platform in containers as its users start it, for tests that look at a measure's way from outside."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metering_local.checkout import ROOT
from metering_local.compose import compose_command
from metering_local.free_ports import free_port
from tests.images.engine import Engine

UP_SECONDS = 900
PORTS = ("API", "POSTGRES", "KAFKA", "KAFKA_2", "KAFKA_3", "PROMETHEUS", "GRAFANA")


@dataclass(frozen=True)
class Containers:
    """docker-compose.yml with secrets and ports of its own."""

    engine: Engine
    env_file: Path
    environment: dict[str, str]
    brokers: str = "1"

    def up(self) -> None:
        """As `make compose-up`, with the images as they are."""
        options = ["up", "--no-build", "--brokers", self.brokers, "--env-file", str(self.env_file)]
        command = [sys.executable, "-m", "metering_local.compose", *options]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=UP_SECONDS
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:] + self.logs()

    def compose(self, *arguments: str) -> str:
        command = [*compose_command(), "--project-directory", str(ROOT), "--env-file", str(self.env_file), *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stderr[-2000:]}"
        return done.stdout

    def logs(self) -> str:
        return self.compose("logs", "--tail=15")[-6000:]

    def published(self, service: str, port: int) -> str:
        """Where this machine reaches a container's port: 127.0.0.1:n."""
        return self.engine.docker("port", self.id(service), str(port)).splitlines()[0]

    def remove(self) -> None:
        """With all data."""
        self.compose("down", "-v", "--remove-orphans", "-t", "5")

    def id(self, service: str) -> str:
        """Of its container, also where that has ended."""
        labels = {"project": self.environment["COMPOSE_PROJECT_NAME"], "service": service}
        filters = [f"--filter=label=com.docker.compose.{name}={value}" for name, value in labels.items()]
        return self.engine.docker("ps", "-aq", *filters)

    def inspect(self, service: str) -> dict[str, Any]:
        return self.inspect_id(self.id(service))

    def inspect_id(self, container: str) -> dict[str, Any]:
        return dict(json.loads(self.engine.docker("inspect", container))[0])

    def variables(self) -> dict[str, str]:
        """What stands in the written `.env`."""
        return dict(line.split("=", 1) for line in self.env_file.read_text().splitlines())

    def tools(self) -> dict[str, str]:
        """The environment of the checkout's tools, as the shell reads it from the written file."""
        lines = self.env_file.with_name(f"{self.env_file.name}.shell").read_text().splitlines()
        words = [shlex.split(line)[1] for line in lines if line.startswith("export ")]
        return os.environ | dict(word.split("=", 1) for word in words)


@contextmanager
def brought_up(engine: Engine, env_file: Path, project: str, brokers: str = "1") -> Iterator[Containers]:
    """All of it on ports of its own until the context is left; its volumes go with it."""
    ports = "".join(f"METERING_{name}_PORT={free_port()}\n" for name in PORTS)
    env_file.write_text(f"METERING_VERSION=latest\n{ports}")
    started = Containers(engine, env_file, engine.environment | {"COMPOSE_PROJECT_NAME": project}, brokers)
    try:
        started.up()
        yield started
    finally:
        started.remove()
