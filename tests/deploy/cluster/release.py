"""The chart, installed on the tests' cluster with the project's own images, in a namespace enforced "restricted"."""

import base64
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.deploy.chart import CHART
from tests.deploy.cluster.beside import Beside
from tests.deploy.cluster.images import REPOSITORY, tag
from tests.deploy.cluster.kubectl import Kubectl, until
from tests.deploy.cluster.node import Node

NAMESPACE = NAME = "metering"
COMPONENTS = ("auth", "ingest-api", "validator", "writer", "ecl-poller")
KINDS = {
    "auth": "deployment",
    "ingest-api": "deployment",
    "ecl-poller": "deployment",
    "validator": "statefulset",
    "writer": "statefulset",
}
SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
"""A node of two processors has room for every component twice."""
READY_SECONDS = 300


@dataclass(frozen=True)
class Release:
    """One release and what it stands on."""

    node: Node
    beside: Beside
    master_keys: dict[str, str]
    folder: Path

    @property
    def kubectl(self) -> Kubectl:
        return self.node.kubectl.within(NAMESPACE)

    def prepare(self) -> None:
        """The namespace and the Secrets, as an operator makes them before the first install."""
        restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        self.node.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": restricted}}
        )
        self.kubectl.apply(*[_secret(f"{NAME}-{component}", texts) for component, texts in self.secret_texts().items()])

    def secret_texts(self) -> dict[str, dict[str, str]]:
        password = self.beside.password
        return {
            "auth": {"database-password": password("auth_service"), "key-encryption-key": self.master_keys["auth"]},
            "writer": {"database-password": password("storage_writer")},
            "ecl-poller": {"database-password": password("ecl_service"), "key-encryption-key": self.master_keys["ecl"]},
            "migrations": {f"{name}-owner-password": password(f"{name}_owner") for name in ("auth", "storage", "ecl")},
        }

    def values(self) -> dict[str, Any]:
        """Over ci/minimal-values.yaml: where the servers are, these images, room on a small node."""
        return {
            "image": {"repository": REPOSITORY, "tag": tag()},
            "kafka": {"bootstrapServers": self.beside.pods_bootstrap},
            "postgresql": {"host": self.node.network.host, "port": self.beside.postgres.files.port},
            "components": {component: {"replicas": 2, "resources": SMALL} for component in COMPONENTS},
        }

    def tools(self) -> dict[str, str]:
        """The environment of the platform's tools and of an analyst, who come over this machine's loopback."""
        database = self.beside.postgres
        return {
            "METERING_DATABASE_URL": database.dsn("storage_reader", "storage"),
            "AUTH_DATABASE_URL": database.dsn("auth_service", "auth"),
            "AUTH_KEY_ENCRYPTION_KEY": self.master_keys["auth"],
            "KAFKA_BOOTSTRAP_SERVERS": self.beside.kafka_server.bootstrap,
            "KAFKA_ENVIRONMENT": "laptop",
        }

    def install(self, chart: Path = CHART) -> None:
        """The release as every test finds it, whatever it was before; waits until every pod is ready."""
        self.upgrade({}, chart)
        self.await_ready()

    def upgrade(self, over: dict[str, Any], chart: Path = CHART) -> None:
        """`helm upgrade --install` with values over the usual ones; the pods follow in their own time."""
        files = [CHART / "ci" / "minimal-values.yaml"]
        for values in (self.values(), over):
            files.append(self.folder / f"{secrets.token_hex(4)}.json")
            files[-1].write_text(json.dumps(values))
        given = [part for file in files for part in ("--values", str(file))]
        self.kubectl.helm("upgrade", "--install", NAME, str(chart), *given, "--timeout", "300s")

    def await_ready(self) -> None:
        for component in COMPONENTS:
            self.await_rollout(component)

    def await_rollout(self, component: str) -> None:
        what = f"{KINDS[component]}/{NAME}-{component}"
        done = self.kubectl.run(
            "rollout", "status", what, f"--timeout={READY_SECONDS}s", check=False, seconds=READY_SECONDS + 30
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.troubles()}"

    def restart(self, *components: str) -> None:
        """A rolling update of each, and its end."""
        for component in components:
            self.kubectl.run("rollout", "restart", f"{KINDS[component]}/{NAME}-{component}")
        for component in components:
            self.await_rollout(component)

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those that are not on their way out."""
        found: list[dict[str, Any]] = self.kubectl.get(
            "pods", "--selector", f"app.kubernetes.io/component={component}"
        )["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def restarts(self) -> dict[str, int]:
        """How often the kubelet restarted a container, by pod."""
        pods = [pod for component in COMPONENTS for pod in self.pods(component)]
        return {
            pod["metadata"]["name"]: sum(each["restartCount"] for each in pod["status"]["containerStatuses"])
            for pod in pods
        }

    def address(self, service: str) -> str:
        found = self.kubectl.get("service", f"{NAME}-{service}")
        return str(found["spec"]["clusterIP"])

    def failed_creations(self) -> list[str]:
        events = self.kubectl.get("events")["items"]
        return [event["message"] for event in events if event["reason"] in ("FailedCreate", "FailedMount")]

    def troubles(self) -> str:
        """What one would look at first."""
        pods = self.kubectl.run("get", "pods", "--output", "wide", check=False).stdout
        events = self.kubectl.run("get", "events", "--sort-by=.lastTimestamp", check=False).stdout.splitlines()[-25:]
        selector = f"--selector=app.kubernetes.io/instance={NAME}"
        logs = self.kubectl.run("logs", selector, "--tail=6", "--prefix", "--all-containers", check=False).stdout
        return "\n".join([pods, *events, logs[-6_000:]])

    def process(self, pod: dict[str, Any]) -> int:
        """The machine's process id of the service in a pod."""
        uid = pod["metadata"]["uid"]
        return int(until(f"{pod['metadata']['name']} runs", lambda: self.node.processes(uid))[0])


def master_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode().rstrip("=")


def _secret(name: str, texts: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": texts}
