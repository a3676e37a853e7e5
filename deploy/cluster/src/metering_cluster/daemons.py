"""The command lines of the node's daemons: etcd, Kubernetes' own, containerd, name server, metrics."""

import json
from dataclasses import dataclass
from pathlib import Path

from metering_cluster.binaries import program
from metering_cluster.network import Network

API_PORT = 6443
METRICS_PORT = 4443
METRICS_NAME = "metrics-server.kube-system.svc"
PAUSE_IMAGE = "metering-tests/pause:1"
DOMAIN = "cluster.local"


@dataclass(frozen=True)
class Places:
    """Where the node keeps its things: `state` is thrown away with it; `system` holds Debian's containerd."""

    state: Path
    system: Path
    network: Network

    @property
    def cgroup(self) -> str:
        return f"/{self.network.namespace}"

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    def certificate(self, name: str) -> str:
        return str(self.certificates / name)

    @property
    def admin(self) -> str:
        """The administrator's kubeconfig, which Kubernetes' own daemons use as well."""
        return str(self.state / "admin.conf")

    @property
    def socket(self) -> str:
        return str(self.state / "containerd.sock")

    @property
    def api(self) -> str:
        return f"https://{self.network.node}:{API_PORT}"


def etcd(places: Places) -> list[str]:
    url = "http://127.0.0.1:2379"
    return [
        str(program("etcd")), "--data-dir", str(places.state / "etcd"), "--unsafe-no-fsync", "--log-level=warn",
        "--listen-client-urls", url, "--advertise-client-urls", url, "--listen-peer-urls", "http://127.0.0.1:2380",
    ]  # fmt: skip


def apiserver(places: Places) -> list[str]:
    at = places.certificate
    return [
        str(program("kube-apiserver")),
        "--etcd-servers=http://127.0.0.1:2379",
        f"--advertise-address={places.network.node}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={places.network.services}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--token-auth-file={places.state / 'tokens.csv'}",
        f"--client-ca-file={at('ca.crt')}",
        f"--tls-cert-file={at('server.crt')}",
        f"--tls-private-key-file={at('server.key')}",
        f"--kubelet-client-certificate={at('kubelet-client.crt')}",
        f"--kubelet-client-key={at('kubelet-client.key')}",
        f"--kubelet-certificate-authority={at('ca.crt')}",
        f"--service-account-key-file={at('accounts.key')}",
        f"--service-account-signing-key-file={at('accounts.key')}",
        f"--service-account-issuer=https://kubernetes.default.svc.{DOMAIN}",
        f"--requestheader-client-ca-file={at('ca.crt')}",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={at('front-proxy.crt')}",
        f"--proxy-client-key-file={at('front-proxy.key')}",
        "--enable-aggregator-routing=true",
        "--kubelet-preferred-address-types=InternalIP",
    ]


def controller_manager(places: Places) -> list[str]:
    return [
        str(program("kube-controller-manager")),
        f"--kubeconfig={places.admin}",
        f"--root-ca-file={places.certificate('ca.crt')}",
        f"--service-account-private-key-file={places.certificate('accounts.key')}",
        "--use-service-account-credentials=false",
        "--leader-elect=false",
        # A quick look at processor time, so that tests need not wait for minutes.
        "--horizontal-pod-autoscaler-sync-period=3s",
        "--horizontal-pod-autoscaler-cpu-initialization-period=10s",
        "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
    ]


def scheduler(places: Places) -> list[str]:
    return [str(program("kube-scheduler")), f"--kubeconfig={places.admin}", "--leader-elect=false"]


def proxy(places: Places) -> list[str]:
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": places.admin},
        "mode": "iptables",
        # Pods on one bridge answer each other directly; without this the answer would bypass the way back.
        "iptables": {"masqueradeAll": True},
        "conntrack": {"maxPerCore": 0, "min": 0},
        "hostnameOverride": "n1",
    }
    return [str(program("kube-proxy")), f"--config={_written(places, 'proxy.json', config)}"]


def containerd(places: Places) -> list[str]:
    config = places.state / "containerd.toml"
    config.write_text(_containerd_config(places))
    return [str(places.system / "usr/bin/containerd"), "--config", str(config)]


def kubelet(places: Places) -> list[str]:
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": places.certificate("ca.crt")}},
        "authorization": {"mode": "AlwaysAllow"},
        "tlsCertFile": places.certificate("server.crt"),
        "tlsPrivateKeyFile": places.certificate("server.key"),
        "containerRuntimeEndpoint": f"unix://{places.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": places.cgroup,
        "failSwapOn": False,
        "failCgroupV1": False,
        "makeIPTablesUtilChains": False,
        "podLogsDir": str(places.state / "pod-logs"),
        "resolvConf": "",
        "clusterDNS": [places.network.bridge],
        "clusterDomain": DOMAIN,
        "housekeepingInterval": "5s",
        "syncFrequency": "10s",  # when a changed Secret reaches a pod's files
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "maxPods": 60,
    }
    return [
        str(program("kubelet")), f"--config={_written(places, 'kubelet.json', config)}",
        f"--kubeconfig={places.state / 'kubelet.conf'}", "--hostname-override=n1",
        f"--node-ip={places.network.node}", f"--root-dir={places.state / 'kubelet'}",
    ]  # fmt: skip


def coredns(places: Places) -> list[str]:
    file = places.state / "Corefile"
    file.write_text(
        f"{DOMAIN}:53 {{\n  bind {places.network.bridge}\n  errors\n  cache 5\n"
        f"  kubernetes {DOMAIN} {{\n    kubeconfig {places.admin} admin\n  }}\n}}\n"
    )
    return [str(program("coredns")), "-conf", str(file)]


def metrics_server(places: Places) -> list[str]:
    return [
        str(program("metrics-server")), f"--kubeconfig={places.admin}",
        f"--authentication-kubeconfig={places.admin}", f"--authorization-kubeconfig={places.admin}",
        f"--tls-cert-file={places.certificate('server.crt')}", f"--secure-port={METRICS_PORT}",
        f"--tls-private-key-file={places.certificate('server.key')}",
        f"--kubelet-certificate-authority={places.certificate('ca.crt')}",
        "--kubelet-preferred-address-types=InternalIP", "--metric-resolution=10s",
        "--kubelet-request-timeout=5s",
    ]  # fmt: skip


ALL = {
    "etcd": etcd,
    "kube-apiserver": apiserver,
    "kube-controller-manager": controller_manager,
    "kube-scheduler": scheduler,
    "kube-proxy": proxy,
    "containerd": containerd,
    "kubelet": kubelet,
    "coredns": coredns,
    "metrics-server": metrics_server,
}
"""Each daemon's command line, in the order of their start."""


def _written(places: Places, name: str, config: object) -> Path:
    file = places.state / name
    file.write_text(json.dumps(config))
    return file


def _containerd_config(places: Places) -> str:
    return f"""version = 2
root = "{places.state}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{places.socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Without CAP_SYS_RESOURCE a score may not be lowered, and every sandbox would fail.
restrict_oom_score_adj = true
disable_apparmor = true
tolerate_missing_hugetlb_controller = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{places.system}/usr/lib/cni"
conf_dir = "{places.state}/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "{places.system}/usr/sbin/runc"
SystemdCgroup = false
"""
