"""The node's first process: mounts what only the node sees, keeps its daemons running, and takes all with it.

`python first_process.py FILE`: the file names folders to cover and daemons with their logs. It runs as process 1 of
process and mount namespaces of its own: when it ends, Linux ends every process of the node, and its mounts are gone.
Needs nothing but the standard library.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PAUSE_SECONDS = 0.5


def main() -> None:
    plan: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.umask(0o022)  # or processes that are not root cannot execute what containerd unpacks
    for command in plan["mounts"]:
        subprocess.run(command, check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    keep_running(plan["daemons"])


def keep_running(daemons: list[dict[str, Any]]) -> None:
    """For ever; also collects what the node's containers leave behind."""
    running = {start(daemon): daemon for daemon in daemons}
    while True:
        pid, _ = os.wait()
        if pid in running:
            time.sleep(PAUSE_SECONDS)
            daemon = running.pop(pid)
            running[start(daemon)] = daemon


def start(daemon: dict[str, Any]) -> int:
    log = os.open(daemon["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execve(daemon["command"][0], daemon["command"], daemon["environment"])
    os.close(log)
    return pid


if __name__ == "__main__":
    main()
