"""What of the images can be known without building them."""

import re
import subprocess

import pytest

from metering_local.checkout import PROGRAMS, ROOT

pytestmark = pytest.mark.fast
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
LAST_STAGE = DOCKERFILE.read_text().split("\nFROM ")[-1]


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([str(PROGRAMS / "hadolint"), str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_last_stage_installs_nothing_and_is_nobody() -> None:
    assert not re.search(r"\b(pip|uv|hatchling|apt-get|apk)\b install", LAST_STAGE)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", LAST_STAGE, re.MULTILINE)
    for instruction in ("ENTRYPOINT", "  CMD"):  # the exec form: a shell would keep SIGTERM to itself
        assert re.search(rf"^{instruction} \[", LAST_STAGE, re.MULTILINE)


def test_a_build_sees_what_it_needs_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {"**/tests", "**/.env*"} <= set(rules)
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    for place in " ".join(copied).split():
        assert any(place.startswith(rule[1:].removesuffix("*.py")) for rule in rules if rule.startswith("!")), place
