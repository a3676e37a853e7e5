"""What Python needs under libfaketime: every process that `python -m tests.at_any_hour` starts imports this first.

libfaketime 0.9.10 fails `clock_nanosleep` with EINVAL when the monotonic clock stays real, and Python 3.11 sleeps by
it; when the monotonic clock is faked too, `threading.Event.wait` never returns. So the monotonic clock stays real and
`time.sleep` waits in `select`. A process started with an environment of its own gets the false clock as well.
"""

import os
import select
import subprocess
import time
from typing import Any

CLOCK = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC")
_start = subprocess.Popen.__init__


def _sleep(seconds: Any) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select((), (), (), seconds)


def _started_with_the_clock(process: Any, *arguments: Any, **options: Any) -> None:
    if options.get("env") is not None:
        clock = {name: os.environ[name] for name in CLOCK if name in os.environ}
        paths = [options["env"].get("PYTHONPATH", ""), os.path.dirname(__file__)]  # noqa: PTH120  nothing more is imported
        options["env"] = dict(options["env"]) | clock | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    _start(process, *arguments, **options)


if "FAKETIME" in os.environ:
    time.sleep = _sleep
    subprocess.Popen.__init__ = _started_with_the_clock  # type: ignore[method-assign,assignment]
