"""kubectl and helm as the tests call them: each failure shows what the tool said."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from metering_cluster.binaries import program

Done = subprocess.CompletedProcess[str]


class Kubectl:
    """kubectl with one kubeconfig, in one namespace if one is given."""

    def __init__(self, kubeconfig: str, namespace: str = "") -> None:
        self.kubeconfig = kubeconfig
        self.namespace = namespace

    def within(self, namespace: str) -> "Kubectl":
        return Kubectl(self.kubeconfig, namespace)

    def command(self, *arguments: str) -> list[str]:
        where = ["--namespace", self.namespace] if self.namespace else []
        return [str(program("kubectl")), "--kubeconfig", self.kubeconfig, *where, *arguments]

    def run(self, *arguments: str, text: str | None = None, check: bool = True, seconds: float = 300) -> Done:
        return _run(self.command(*arguments), {}, text, check=check, seconds=seconds)

    def get(self, *arguments: str) -> Any:
        return json.loads(self.run("get", *arguments, "--output", "json").stdout)

    def apply(self, *manifests: dict[str, Any]) -> None:
        listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.run("apply", "--filename", "-", text=json.dumps(listed))

    def helm(self, *arguments: str, check: bool = True, seconds: float = 600) -> Done:
        environment = {"KUBECONFIG": self.kubeconfig, "HELM_NAMESPACE": self.namespace}
        return _run([str(program("helm")), *arguments], environment, None, check=check, seconds=seconds)


def _run(command: list[str], environment: dict[str, str], text: str | None, *, check: bool, seconds: float) -> Done:
    done = subprocess.run(
        command, env=os.environ | environment, input=text, capture_output=True, text=True, check=False, timeout=seconds
    )
    assert not check or done.returncode == 0, f"{' '.join(command)} exited {done.returncode}: {done.stderr[-3000:]}"
    return done


def until(what: str, holds: Callable[[], Any], seconds: float = 120) -> Any:
    """Ask again until the answer is true; the answer."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.5)
    return answer
