"""An image installs a wheel: the contracts have to be inside it."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from metering_common.contract import schemas, topics

pytestmark = pytest.mark.fast

PACKAGE = Path(__file__).parents[2]


def test_a_wheel_carries_contracts_and_schemas(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=PACKAGE, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    names = set(ZipFile(wheel).namelist())
    assert {f"metering_common/contracts/topics/{topic}.yaml" for topic in topics.load_contracts()} <= names
    assert {f"metering_common/contracts/schemas/{file}" for file in schemas.generate()} <= names
    assert "metering_common/py.typed" in names
