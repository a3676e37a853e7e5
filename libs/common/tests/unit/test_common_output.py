"""A command whose reader goes away, as `head` does, ends without a word about it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

TOPICS = str(Path(sys.executable).with_name("metering-topics"))
MUCH = "import sys; from metering_common.service.output import Printing\nwith Printing(): sys.stdout.write('x' * {})"


@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-c", MUCH.format(1)], [sys.executable, "-c", MUCH.format(1_000_000)], [TOPICS, "acls"]],
    ids=["in the buffer", "beyond it", "metering-topics"],
)
def test_a_closed_pipe_is_no_error(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
