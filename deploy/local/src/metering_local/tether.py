"""Ties a server process to the process that started it, so that none is left over when that one dies.

Run as `python -m metering_local.tether [--user NAME] SIGNAL COMMAND…`: becomes the user, asks Linux to send it SIGNAL
when its parent ends (however it ends), and turns into COMMAND. Elsewhere than on Linux only the last two are done.
"""

import ctypes
import os
import pwd
import signal
import sys

PR_SET_PDEATHSIG = 1


def tethered(command: list[str], parting: str, user: str | None = None) -> list[str]:
    """The command line that runs `command` so that it gets the signal `parting` when its parent ends."""
    as_user = ["--user", user] if user else []
    return [sys.executable, "-m", "metering_local.tether", *as_user, parting, *command]


def main(arguments: list[str]) -> None:
    if arguments[0] == "--user":
        _become(arguments[1])
        arguments = arguments[2:]
    if sys.platform == "linux":
        # After the change of user, which would clear it; exec keeps it.
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.Signals[arguments[0]])
    os.execv(arguments[1], arguments[1:])  # noqa: S606  the command is ours, and no shell is wanted between


def _become(user: str) -> None:
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ["HOME"] = "/"


if __name__ == "__main__":
    main(sys.argv[1:])
