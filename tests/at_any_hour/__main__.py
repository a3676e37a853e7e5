"""Runs tests at the moments at which code that reads the clock tends to fail: `python -m tests.at_any_hour [PATH…]`.

Every Python process of the tests sees a clock that starts at the moment and runs on (Debian's `libfaketime`). Moments
lie in the past, since Kafka refuses records from its future. The tests of the poller's tool begin their virtual time
there too. Exit status 1 when a test failed.
"""

import argparse
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
ROOT = Path(__file__).parents[2]
MOMENTS = (
    "2026-06-30T15:00:00Z",
    "2026-06-30T15:14:50Z",
    "2026-06-30T15:15:10Z",
    "2026-06-30T15:59:50Z",
    "2026-06-30T23:59:30Z",
    "2026-03-29T00:59:30Z",  # Europe: 02:00 becomes 03:00
    "2026-10-25T00:59:30Z",  # Europe: 03:00 becomes 02:00
    "2024-02-29T12:14:50Z",
)
READERS_OF_THE_CLOCK = (
    "services/ecl-poller/tests",
    "libs/gateway/tests/unit/test_gateway_clock.py",
    "services/auth/tests/integration/test_auth_rotation.py",
    "services/auth/tests/integration/test_auth_revocation.py",
    "services/writer/tests/integration/test_writer_dimensions.py",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="at_any_hour", description=__doc__)
    parser.add_argument("paths", nargs="*", default=READERS_OF_THE_CLOCK, help="tests; those that read the clock")
    parser.add_argument("--moment", action="append", help="ISO 8601 with zone; may be repeated")
    given = parser.parse_args()
    if not LIBRARY.exists():
        parser.error(f"{LIBRARY} is missing: apt-get install faketime")
    failed = [moment for moment in given.moment or MOMENTS if run_at(moment, given.paths)]
    print(f"failed at: {', '.join(failed)}" if failed else "passed at every moment")  # noqa: T201  a command prints
    return bool(failed)


def run_at(moment: str, paths: list[str]) -> int:
    """The exit status of pytest with its clock set; an offset, so that processes started later agree."""
    start = datetime.fromisoformat(moment).timestamp()
    environment = os.environ | {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": f"{start - time.time():+.0f}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{ROOT}",
        "METERING_TEST_START_MS": str(round(start * 1_000)),
    }
    print(f"== {moment}", flush=True)  # noqa: T201  as above
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *paths], cwd=ROOT, env=environment, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
