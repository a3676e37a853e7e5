"""What Python needs under libfaketime: every process that `python -m tests.at_any_hour` starts imports this first.

libfaketime 0.9.10 fails `clock_nanosleep` with EINVAL when the monotonic clock stays real, and Python 3.11 sleeps by
it; when the monotonic clock is faked too, `threading.Event.wait` never returns. So the monotonic clock stays real and
`time.sleep` waits in `select`. Kafka and
PostgreSQL keep the real clock (a JVM under libfaketime did not start here), every Python process gets the false one.
"""

import os
import select
import subprocess
import sys
import time
from typing import Any

CLOCK = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC")
_start = subprocess.Popen.__init__


def _sleep(seconds: Any) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select((), (), (), seconds)


def _started_with_its_clock(process: Any, *arguments: Any, **options: Any) -> None:
    command = arguments[0] if arguments else options["args"]
    program = str(command if isinstance(command, str) else command[0])
    environment = dict(options.get("env") or os.environ)
    for name in CLOCK:
        environment.pop(name, None)
    if program.startswith(sys.prefix):
        paths = [environment.get("PYTHONPATH", ""), os.path.dirname(__file__)]  # noqa: PTH120  nothing more is imported
        environment |= {name: os.environ[name] for name in CLOCK if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    _start(process, *arguments, **options | {"env": environment})


if "FAKETIME" in os.environ:
    time.sleep = _sleep
    subprocess.Popen.__init__ = _started_with_its_clock  # type: ignore[method-assign,assignment]
