"""Two processes leave no test out silently, and the closing line counts what was deselected (tests/closing_line.py)."""

import os
import subprocess
import sys
from pathlib import Path

from metering_local.checkout import ROOT

TESTS = """
import pytest
def test_kept(): pass
@pytest.mark.apart
def test_apart(): pass
"""
DOUBLED = """
def pytest_collection_modifyitems(items):
    items += items[:1]
"""


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = apart")
    command = [sys.executable, "-m", "pytest", "-p", "tests.closing_line", "-n", "2", "-m", "not apart", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_what_workers_deselect_is_counted(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert "1 passed, 1 deselected" in done.stdout.splitlines()[-1]
    assert done.returncode == 0


def test_tests_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(DOUBLED)
    done = run(tmp_path)
    assert "several tests have one name: test_some.py::test_kept" in done.stdout + done.stderr
    assert done.returncode != 0
