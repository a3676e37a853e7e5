"""The first set-up on a machine that is not as it should be: one line that says what to do, never a traceback."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from metering_local import kafka_jars
from metering_local.checkout import ROOT
from metering_local.errors import EnvironmentProblemError

pytestmark = pytest.mark.fast

NOBODY_LISTENS = "http://127.0.0.1:9"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a fresh clone as the set-up reads, without .venv."""
    (tmp_path / "deploy" / "local").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "local" / "make-venv.sh", tmp_path / "deploy" / "local")
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    return tmp_path


def set_up(checkout: Path, python: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [str(checkout / "deploy" / "local" / "make-venv.sh"), python]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def fake_python(folder: Path, version: str) -> str:
    """A python3 of another version, as far as the set-up asks."""
    file = folder / "python3"
    file.write_text(f'#!/bin/sh\ncase "$2" in *version_info*) exit 1;; *python_version*) echo {version};; esac\n')
    file.chmod(0o755)
    return str(file)


def test_an_old_python_is_told_in_one_line(checkout: Path) -> None:
    done = set_up(checkout, fake_python(checkout, "3.9.2"))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Python 3.11 or newer is needed and" in done.stderr
    assert "is 3.9.2" in done.stderr


def test_no_python_is_told_in_one_line(checkout: Path) -> None:
    done = set_up(checkout, "no-such-python3")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no-such-python3 was not found" in done.stderr


def test_no_network_is_told_in_one_line(checkout: Path) -> None:
    away = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOBODY_LISTENS)
    caches = {"PIP_CACHE_DIR": str(checkout / "pip"), "UV_CACHE_DIR": str(checkout / "uv"), "NO_PROXY": ""}
    quick = {"PIP_FIND_LINKS": "", "PIP_RETRIES": "0", "UV_HTTP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "2"}
    done = set_up(checkout, "python3", **away, **caches, **quick)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The first set-up needs the network")
    assert "Traceback" not in done.stderr


def test_no_network_for_kafka_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, NOBODY_LISTENS)
    with pytest.raises(EnvironmentProblemError, match="needs the network") as caught:
        kafka_jars.jar_folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / f"kafka-{kafka_jars.KAFKA_VERSION}").exists()
