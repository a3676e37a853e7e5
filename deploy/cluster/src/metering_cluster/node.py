"""A one-node Kubernetes whose pods really run: started for a test session, and wholly gone after it."""

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from metering_cluster import cgroups, daemons, keeper, metrics_api
from metering_cluster.binaries import cache
from metering_cluster.certificates import Authority
from metering_cluster.daemons import Places
from metering_cluster.debian import have
from metering_cluster.keeper import Kept
from metering_cluster.kubectl import Kubectl
from metering_cluster.network import Network
from metering_cluster.pause import pause_archive

DEBIAN = ("containerd", "runc", "containernetworking-plugins")
READY_SECONDS = 240


@dataclass(frozen=True)
class Node:
    """A running cluster."""

    places: Places
    kubectl: Kubectl

    @property
    def network(self) -> Network:
        return self.places.network

    def import_image(self, archive: Path) -> None:
        """Make the images of an archive (OCI's or Docker's) known under their names."""
        ctr = str(self.places.system / "usr/bin/ctr")
        command = [ctr, "-a", self.places.socket, "-n", "k8s.io", "images", "import", "--no-unpack", str(archive)]
        subprocess.run(command, check=True, capture_output=True)

    def processes(self, pod_uid: str) -> list[int]:
        """The machine's process ids of a pod's containers, the pod's own pause left out."""
        found = []
        for file in cgroups.of_controller(self.network.namespace, "pids").rglob(f"pod{pod_uid}/*/cgroup.procs"):
            found += [pid for line in file.read_text().split() if not _is_pause(pid := int(line))]
        return found


@contextmanager
def running() -> Iterator[Node]:
    """Ready when entered; the keeper puts everything back when it is left, however that happens."""
    with keeper.kept() as kept:
        places = Places(kept.folder, system(), kept.network)
        have("iptables", "iptables")
        _prepare(places)
        kept.start(_first_process(places), _log(places, "first"))
        node = Node(places, Kubectl(places.admin))
        _wait_until_ready(node, kept)
        node.import_image(pause_archive(places.state))
        node.kubectl.apply(*metrics_api.manifests(places))
        yield node


def system() -> Path:
    """Debian's container runtime, fetched and unpacked into the cache; nothing is installed."""
    folder = cache() / "debian"
    if not (folder / "usr/sbin/runc").exists():
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            subprocess.run(["apt-get", "-q", "update"], check=True, capture_output=True)
            subprocess.run(["apt-get", "-q", "download", *DEBIAN], cwd=scratch, check=True, capture_output=True)
            for package in Path(scratch).glob("*.deb"):
                subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
    return folder


def _prepare(places: Places) -> None:
    places.state.chmod(0o755)
    for name in ("certificates", "cni", "var", "var-work", "logs", "pod-logs"):
        (places.state / name).mkdir()
    _sign(places)
    token = secrets.token_urlsafe(24)
    (places.state / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    _write_kubeconfig(places, "admin.conf", {"token": token})
    client = {
        key: places.certificate(f"node.{end}") for key, end in (("client-certificate", "crt"), ("client-key", "key"))
    }
    _write_kubeconfig(places, "kubelet.conf", client)
    (places.state / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network(places)))


def _sign(places: Places) -> None:
    authority = Authority(places.certificates)
    at = (
        places.network.node,
        places.network.first_service,
        "127.0.0.1",
        "n1",
        "kubernetes.default.svc",
        daemons.METRICS_NAME,
    )
    authority.sign("server", "server", addresses=at)
    authority.sign("kubelet-client", "kubelet-client", "system:masters")
    authority.sign("node", "system:node:n1", "system:nodes")
    authority.sign("front-proxy", "front-proxy")
    authority.make_signing_key("accounts")


def _write_kubeconfig(places: Places, name: str, user: dict[str, str]) -> None:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "c", "cluster": {"server": places.api, "certificate-authority": places.certificate("ca.crt")}}
        ],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "admin", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "admin",
    }
    file = places.state / name
    file.touch(mode=0o600)
    file.write_text(json.dumps(config))


def _pod_network(places: Places) -> dict[str, object]:
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "pods0",
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(places.state / "addresses"),
                    "ranges": [[{"subnet": str(places.network.pods)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _first_process(places: Places) -> list[str]:
    """The command line of the node's first process, and of all the others through it."""
    system_path = f"{places.system}/usr/bin:{places.system}/usr/sbin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": system_path, "HOME": str(places.state)}
    over = f"lowerdir=/var,upperdir={places.state / 'var'},workdir={places.state / 'var-work'}"
    plan = {
        "mounts": [
            ["mount", "--make-rshared", "/"],
            ["mount", "-t", "proc", "proc", "/proc"],
            ["mount", "-t", "tmpfs", "-o", "mode=0755", "run", "/run"],
            ["mount", "-t", "overlay", "overlay", "-o", over, "/var"],
        ],
        "daemons": [
            {"command": command(places), "environment": environment, "log": str(_log(places, name))}
            for name, command in daemons.ALL.items()
        ],
    }
    file = places.state / "plan.json"
    file.write_text(json.dumps(plan))
    first = [sys.executable, str(Path(__file__).with_name("first_process.py")), str(file)]
    apart = ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", *first]
    nsenter, *rest = places.network.inside(*apart)
    return [f"/usr/bin/{nsenter}", *rest]


def _log(places: Places, name: str) -> Path:
    return places.state / "logs" / f"{name}.log"


def _wait_until_ready(node: Node, kept: Kept) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _is_ready(node):
        assert not kept.has_ended, _log(node.places, "first").read_text()
        assert time.monotonic() < deadline, f"the node is not ready: {logs(node)}"
        time.sleep(0.5)


def _is_ready(node: Node) -> bool:
    jsonpath = "{.items[*].status.conditions[?(@.type=='Ready')].status}"
    done = node.kubectl.run("get", "nodes", "--output", f"jsonpath={jsonpath}", check=False)
    return done.returncode == 0 and done.stdout.strip() == "True"


def logs(node: Node) -> str:
    """The last lines of every daemon."""
    files = sorted((node.places.state / "logs").glob("*.log"))
    return "\n".join(f"== {file.name}\n" + "\n".join(file.read_text().splitlines()[-8:]) for file in files)


def _is_pause(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/exe").readlink().name == "pause"
    return True  # it has ended meanwhile
