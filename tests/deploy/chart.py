"""The chart as helm renders it for each committed values file; `python -m tests.deploy.chart` writes that again."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from metering_cluster.binaries import program
from tests.deploy.manifests import CASES, RENDERED

CHART = RENDERED.parent / "metering"
KUBERNETES = "1.33.13"
"""A helm that was not built by its makers trusts in a very old one."""


def render(case: str) -> dict[str, str]:
    """File name → text, one for each template that gives something."""
    values = CHART / "ci" / f"{case}-values.yaml"
    with tempfile.TemporaryDirectory() as folder:
        where = ["--namespace", "metering", "--kube-version", KUBERNETES, "--output-dir", folder]
        command = [str(program("helm")), "template", "metering", str(CHART), "--values", str(values), *where]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return {file.name: file.read_text() for file in Path(folder).rglob("*.yaml")}


def write() -> None:
    for case in CASES:
        shutil.rmtree(RENDERED / case, ignore_errors=True)
        (RENDERED / case).mkdir(parents=True)
        for name, text in render(case).items():
            (RENDERED / case / name).write_text(text)


if __name__ == "__main__":
    write()
