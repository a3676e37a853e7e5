"""The chart, installed on the tests' cluster with the project's own images, in a namespace enforced "restricted"."""

import base64
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metering_cluster.kubectl import Kubectl, until
from metering_cluster.node import Node
from tests.deploy.chart import CHART
from tests.deploy.stand.beside import Beside
from tests.deploy.stand.images import REPOSITORY, tag
from tests.deploy.stand.locks import CA_SECRET, PRINCIPALS

NAMESPACE = NAME = "metering"
COMPONENTS = ("auth", "ingest-api", "validator", "writer", "ecl-poller")
KINDS = {
    "auth": "deployment",
    "ingest-api": "deployment",
    "ecl-poller": "deployment",
    "prober": "deployment",
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
    namespace: str = NAMESPACE
    previous_keys: dict[str, str] = field(default_factory=dict)
    """While a master key changes: the one before, as `master_keys` by service."""

    @property
    def kubectl(self) -> Kubectl:
        return self.node.kubectl.within(self.namespace)

    def prepare(self) -> None:
        """The namespace and the Secrets, as an operator makes them before the first install."""
        restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        self.node.kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": restricted}}
        )
        self.write_secrets()

    def write_secrets(self) -> None:
        """As `secret_texts` has them now; pods see it when they are recreated."""
        made = [_secret(f"{NAME}-{component}", texts) for component, texts in self.secret_texts().items()]
        if locks := self.beside.locks:
            made.append(_secret(CA_SECRET, {"ca.crt": locks.trusted_file.read_text()}))
        self.kubectl.apply(*made)

    def renew_pods(self) -> None:
        """The chart's way to let pods read their Secrets: another text as the secrets' generation."""
        self.upgrade({"secrets": {"generation": secrets.token_hex(4)}})
        self.await_ready()

    def secret_texts(self) -> dict[str, dict[str, str]]:
        """By component, and by what stands in no component's Secret."""
        password = self.beside.password
        texts = {
            "auth": {"database-password": password("auth_service"), **self._master_keys("auth")},
            "writer": {"database-password": password("storage_writer")},
            "ecl-poller": {"database-password": password("ecl_service"), **self._master_keys("ecl-poller")},
            "prober": {"database-password": password("storage_reader")},
            "migrations": {f"{name}-owner-password": password(f"{name}_owner") for name in ("auth", "storage", "ecl")},
        }
        if locks := self.beside.locks:
            texts |= {name: texts.get(name, {}) | {"kafka-password": locks.password(name)} for name in PRINCIPALS}
        return texts

    def _master_keys(self, component: str) -> dict[str, str]:
        before = self.previous_keys.get(component)
        return {"key-encryption-key": self.master_keys[component]} | (
            {"key-encryption-key-previous": before} if before else {}
        )

    def values(self) -> dict[str, Any]:
        """Over ci/minimal-values.yaml: where the servers are, these images, room on a small node."""
        return {
            "image": {"repository": REPOSITORY, "tag": tag()},
            "components": {component: {"replicas": 2, "resources": SMALL} for component in COMPONENTS},
        } | self.beside.values()

    def tools(self) -> dict[str, str]:
        """The environment of the platform's tools and of an analyst, who come over this machine's loopback."""
        beside = self.beside
        return beside.kafka_environment("auth") | {
            "METERING_DATABASE_URL": beside.dsn("storage_reader", "storage"),
            "METERING_OPERATOR": "test",
            "AUTH_DATABASE_URL": beside.dsn("auth_service", "auth"),
            "AUTH_KEY_ENCRYPTION_KEY": self.master_keys["auth"],
            "ECL_DATABASE_URL": beside.dsn("ecl_service", "ecl"),
            "ECL_KEY_ENCRYPTION_KEY": self.master_keys["ecl-poller"],
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

    def delete_pods(self) -> None:
        """All at once, as when the lights go out; new ones take their places."""
        self.kubectl.run("delete", "pods", f"--selector=app.kubernetes.io/instance={NAME}", "--grace-period=1")

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
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
