"""The cluster's own network: a namespace behind one link, so that nothing of it is left when the namespace is gone."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from random import SystemRandom


@dataclass(frozen=True)
class Network:
    """Addresses of one cluster, counted from `number`; the machine is at `host`, the cluster's node at `node`."""

    number: int

    @property
    def namespace(self) -> str:
        return f"metering{self.number}"

    @property
    def host(self) -> str:
        """Where Kafka and PostgreSQL listen, and where the tests come from."""
        return f"10.213.{self.number}.1"

    @property
    def node(self) -> str:
        return f"10.213.{self.number}.2"

    @property
    def link(self) -> IPv4Network:
        return IPv4Network(f"10.213.{self.number}.0/24")

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network(f"10.214.{self.number}.0/24")

    @property
    def bridge(self) -> str:
        """The pods' gateway, and their name server."""
        return f"10.214.{self.number}.1"

    @property
    def services(self) -> IPv4Network:
        return IPv4Network(f"10.215.{self.number}.0/24")

    @property
    def first_service(self) -> str:
        return f"10.215.{self.number}.1"

    def inside(self, *command: str) -> list[str]:
        """The command line that runs in the namespace."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", "--", *command]


@contextmanager
def opened() -> Iterator[Network]:
    """A namespace with its link and routes; all of it goes with the block."""
    network = _free()
    _ip("netns", "add", network.namespace)
    try:
        _connect(network)
        yield network
    finally:
        _ip("netns", "delete", network.namespace)


def _free() -> Network:
    taken = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    numbers = [number for number in range(1, 250) if f"10.213.{number}." not in taken]
    return Network(SystemRandom().choice(numbers))


def _connect(network: Network) -> None:
    near, far = f"mh{network.number}", f"mn{network.number}"
    _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", network.namespace)
    _ip("address", "add", f"{network.host}/24", "dev", near)
    _ip("link", "set", near, "up")
    _inside(network, "link", "set", "lo", "up")
    _inside(network, "address", "add", f"{network.node}/24", "dev", far)
    _inside(network, "link", "set", far, "up")
    _inside(network, "route", "add", "default", "via", network.host)
    _inside(network, "link", "add", "pods0", "type", "bridge")
    _inside(network, "address", "add", f"{network.bridge}/24", "dev", "pods0")
    _inside(network, "link", "set", "pods0", "up")
    for reached in (network.pods, network.services):
        _ip("route", "add", str(reached), "via", network.node)


def _inside(network: Network, *arguments: str) -> None:
    subprocess.run(network.inside("ip", *arguments), check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
