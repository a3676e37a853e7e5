"""A disk that is really full: a file system of 8 MB, filled to its last block by somebody else."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
from metering_gateway.disk import DiskFullError
from metering_gateway.domain.measures import Measure
from metering_gateway.outbox import Outbox

folder = Path(sys.argv[1])
box, stored = Outbox(folder / "outbox.sqlite"), 0
try:
    while True:
        stored += box.store([Measure("29", stored + i, {"Corriente A": i, "x" * 300: 1}) for i in range(50)])
except DiskFullError:
    pass
try:
    with (folder / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
except OSError:
    pass
while due := box.due(0, limit=100):
    box.delivered(due, None, {}, 0)
account = box.account()
assert stored > 1_000, stored
assert account["sent_measures"] == account["stored_measures"] == stored, account
"""


@pytest.mark.toolchains
def test_on_a_full_disk_all_that_is_stored_is_sent_and_deleted(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=8m tmpfs "$1" && exec "$2" -c "$3" "$1"'
    command = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        mounted,
        "sh",
        str(tmp_path),
        sys.executable,
        SCRIPT,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
