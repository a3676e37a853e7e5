"""`metering-cluster up|down|kubectl`: a one-node Kubernetes on this machine, until it is taken down."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from metering_cluster import node
from metering_cluster.binaries import cache, program
from metering_local.errors import EnvironmentProblemError

STATE = "running.json"
START_SECONDS = 1_800
"""The first time the programs are built."""
USAGE = "usage: metering-cluster up | down | kubectl ARGUMENTS"


def main() -> int:
    """Returns the command's exit status; what is wrong with the machine is one line on stderr."""
    verb, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    try:
        return _run(verb, arguments)
    except EnvironmentProblemError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _run(verb: str, arguments: list[str]) -> int:
    if verb == "kubectl":
        return kubectl(arguments)
    verbs = {"up": up, "down": down, "serve": serve}
    if verb not in verbs or arguments:
        raise EnvironmentProblemError(USAGE)
    return verbs[verb]()


def up() -> int:
    """Starts the cluster in the background and waits until its node is ready; harmless when it is up."""
    if os.geteuid() != 0:
        raise EnvironmentProblemError("a cluster of its own needs root: namespaces, mounts and cgroups")
    if _running() is None:
        _start()
    print(f"The cluster is up: export KUBECONFIG={_kubeconfig()}")
    return 0


def down() -> int:
    """Ends the cluster; processes, mounts, links and kernel settings are then as they were before."""
    if (process := _running()) is not None:
        process.terminate()
        process.wait(120)
    _state().unlink(missing_ok=True)
    print("The cluster is down.")
    return 0


def kubectl(arguments: list[str]) -> int:
    """Runs kubectl against the cluster."""
    command = [str(program("kubectl")), "--kubeconfig", _kubeconfig(), *arguments]
    return subprocess.call(command)


def serve() -> int:
    """Is the cluster: what `up` starts. Ends on SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with node.running() as cluster:
        scratch = _state().with_suffix(".new")
        scratch.write_text(json.dumps({"pid": os.getpid(), "kubeconfig": cluster.kubectl.kubeconfig}))
        scratch.rename(_state())
        try:
            signal.pause()
        except KeyboardInterrupt:
            return 0
    return 0


def _start() -> None:
    log = cache() / "running.log"
    _state().unlink(missing_ok=True)
    print(f"Starting; the first time its programs are built, which takes a quarter of an hour: {log}", file=sys.stderr)
    with log.open("wb") as output:
        command = [sys.executable, "-m", "metering_cluster.cli", "serve"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while not _state().exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise EnvironmentProblemError(f"the cluster did not start; see {log}")
        time.sleep(0.5)


def _running() -> psutil.Process | None:
    try:
        process = psutil.Process(int(json.loads(_state().read_text())["pid"]))
        return process if "metering_cluster.cli" in process.cmdline() else None
    except (OSError, psutil.Error):
        return None


def _kubeconfig() -> str:
    if _running() is None:
        raise EnvironmentProblemError("no cluster is up: metering-cluster up")
    return str(json.loads(_state().read_text())["kubeconfig"])


def _state() -> Path:
    return cache() / STATE


if __name__ == "__main__":
    raise SystemExit(main())
