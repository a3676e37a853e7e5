"""Ties a server process to the process that started it, so that none is left over when that one dies.

Run as `python -m metering_local.tether [--user NAME] [--log FILE] SIGNAL COMMAND…`: writes its output to the file,
becomes the user, asks Linux to send it SIGNAL when its parent ends (however it ends), and turns into COMMAND. The
process id stays the same. For Linux the parent is the thread that started it; elsewhere nothing is asked.
"""

import argparse
import ctypes
import os
import pwd
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def tethered(command: list[str], parting: str, user: str | None = None, log: Path | None = None) -> list[str]:
    """The command line that runs `command` so that it gets the signal `parting` when its parent ends."""
    as_user = ["--user", user] if user else []
    into = ["--log", str(log)] if log else []
    return [sys.executable, "-m", "metering_local.tether", *as_user, *into, parting, *command]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--log")
    parser.add_argument("parting", metavar="SIGNAL")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args(arguments)
    if asked.log:
        _write_to(asked.log)
    if asked.user:
        _become(asked.user)
    if sys.platform == "linux":
        # After the change of user, which would clear it; exec keeps it.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.Signals[asked.parting])
    os.execv(asked.command[0], asked.command)  # noqa: S606  the command is ours, and no shell is wanted between


def _write_to(log: str) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = "/"


if __name__ == "__main__":
    main(sys.argv[1:])
