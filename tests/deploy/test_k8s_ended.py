"""A cluster whose tests are ended, in whatever way, leaves the machine as it was."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from metering_cluster import daemons, node
from metering_cluster.daemons import PAUSE_IMAGE, Places
from metering_cluster.keeper import KERNEL
from metering_cluster.kubectl import Kubectl, until
from metering_cluster.network import Network
from metering_cluster.node import Node
from metering_local.checkout import ROOT

pytestmark = pytest.mark.kubernetes

CLUSTER = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that ran these tests with & would ignore it
from metering_cluster import node
with node.running() as running:
    print(running.network.number, running.places.state, flush=True)
    input()
"""
POD = ("run", "one", f"--image={PAUSE_IMAGE}", "--image-pull-policy=Never")


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_cluster_whose_tests_are_ended_leaves_nothing(way: signal.Signals) -> None:
    kernel = kernel_settings()
    with started() as (process, cluster):
        until("there is an account for pods", lambda: cluster.kubectl.run(*POD, check=False).returncode == 0)
        until("a pod runs", lambda: cluster.kubectl.get("pod", "one")["status"]["phase"] == "Running")
        assert len(traces(cluster)) > len(daemons.ALL)
        process.send_signal(way)
        process.wait(60)
        until("everything is as before", lambda: not traces(cluster) and kernel_settings() == kernel, 60)


@contextmanager
def started() -> Iterator[tuple[subprocess.Popen[str], Node]]:
    """A process with a cluster, and the cluster seen from here."""
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            number, _, folder = process.stdout.readline().strip().partition(" ")
            places = Places(Path(folder), node.system(), Network(int(number)))
            yield process, Node(places, Kubectl(places.admin))
        finally:
            process.kill()


def kernel_settings() -> list[str]:
    return [Path("/proc/sys", name).read_text() for name in KERNEL]


def traces(cluster: Node) -> list[str]:
    """What of this machine names the cluster: links, routes, packet rules, mounts, control groups, processes, files."""
    net, folder = cluster.network, cluster.places.state
    commands = (["ip", "-oneline", "address"], ["ip", "netns"], ["ip", "route"], ["iptables-save"])
    lines = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for command in commands]
    lines += [Path("/proc/self/mountinfo").read_text()]
    lines = [line for text in lines for line in text.splitlines()]
    lines += [str(path) for path in [folder, *Path("/sys/fs/cgroup").glob("**/metering*")] if path.exists()]
    lines += [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    names = re.compile(rf"{folder}|\b(metering|mh){net.number}\b|\b10\.21[345]\.{net.number}\.|KUBE-|CNI-")
    return [line for line in lines if names.search(line)]
