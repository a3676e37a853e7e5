"""Holds what a cluster changes of the machine, and puts it back however the tests end, kill -9 among the ways.

`python -m metering_cluster.keeper` makes a folder and a network and prints both as one line of JSON; it starts the
command that its standard input names (one line of JSON) and ends it when that input ends, as it does with the process
at its other end. Then processes, mounts, links, chains, cgroups, kernel settings and files are as they were before.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from metering_cluster import cgroups, network
from metering_cluster.network import Network
from metering_local.checkout import ROOT
from metering_local.tether import tethered

KERNEL = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
"""What the kubelet sets for the whole machine."""
END_SECONDS = 60


@dataclass(frozen=True)
class Kept:
    """A keeper at work: what it made, and the process itself."""

    folder: Path
    network: Network
    process: "subprocess.Popen[str]"

    def start(self, command: list[str], log: Path) -> None:
        """Run the node's first process until this block's end; `has_ended` tells whether it still does."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"command": command, "log": str(log)}) + "\n")
        self.process.stdin.flush()

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None


@contextmanager
def kept() -> Iterator[Kept]:
    """A folder and a network, gone when the block is left, or when this process ends in whatever way."""
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            made = json.loads(process.stdout.readline())
            yield Kept(Path(made["folder"]), Network(made["number"]), process)
        finally:
            process.stdin.close()
            process.wait(END_SECONDS)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # what ends it is the end of its input
    with (
        kernel_settings(),
        tempfile.TemporaryDirectory(prefix="metering-cluster-", ignore_cleanup_errors=True) as folder,
        network.opened() as net,
        cgroups.removed(net.namespace),
    ):
        print(json.dumps({"folder": folder, "number": net.number}), flush=True)
        if line := sys.stdin.readline():
            _run(**json.loads(line))


def _run(command: list[str], log: str) -> None:
    """Until it ends by itself, or this process' input does."""
    with Path(log).open("wb") as output:
        process = subprocess.Popen(
            tethered(command, "SIGKILL"), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/"
        )
    end = os.pidfd_open(process.pid)
    select.select([sys.stdin, end], [], [])
    process.kill()
    process.wait()
    os.close(end)


@contextmanager
def kernel_settings() -> Iterator[None]:
    """As they were, after the block."""
    before = {name: Path("/proc/sys", name).read_text() for name in KERNEL}
    try:
        yield
    finally:
        for name, text in before.items():
            Path("/proc/sys", name).write_text(text)


if __name__ == "__main__":
    main()
