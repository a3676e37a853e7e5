"""Each image as an operator gets it: who it runs as, what it may write, how it ends, what lies in its layers."""

import json
import re
import tarfile
import time
from pathlib import Path

import pytest

from metering_local.checkout import ROOT
from tests.images.build import BASE, SERVICES, size_of
from tests.images.engine import Engine, secrets_of_this_machine

pytestmark = pytest.mark.docker
CLOSED = ["--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
LARGEST_MB = 200
"""Of what is ours above the base."""
NOWHERE = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
    "AUTH_DATABASE_URL": "postgresql://a:b@127.0.0.1:9/auth",
    "AUTH_KEY_ENCRYPTION_KEY": "A" * 43 + "=",
    "AUTH_PUBLIC_URL": "http://metering.test",
    "WRITER_DATABASE_URL": "postgresql://a:b@127.0.0.1:9/storage",
    "PROBER_API_URL": "http://127.0.0.1:9",
    "PROBER_DATABASE_URL": "postgresql://a:b@127.0.0.1:9/storage",
    "PROBER_STATE_DIRECTORY": "/tmp",
    "PROBER_TOKEN_FILE": "/tmp/issued.json",
    "ECL_DATABASE_URL": "postgresql://a:b@127.0.0.1:9/ecl",
    "ECL_KEY_ENCRYPTION_KEY": "A" * 43 + "=",
}
"""Settings that are well formed and lead to nobody."""
SECRET_NAMES = re.compile(r"(^|/)(\.env[^/]*|pip\.conf|uv\.toml|\.netrc|id_rsa|.*\.pem)$")
PUBLIC = "opt/metering/lib/python3.11/site-packages/certifi/cacert.pem"
"""The world's authorities, which the exporter of traces brings along."""
LONG_RUNNING = [service for service in SERVICES if service != "jobs"]


@pytest.mark.parametrize("service", SERVICES)
def test_it_is_nobody_and_can_write_nowhere(images: Engine, service: str) -> None:
    script = "import os\ntry:\n open('/opt/metering/x', 'w')\nexcept OSError as e:\n print(os.getuid(), e.strerror)"
    done = images.run("run", "--rm", *CLOSED, "--entrypoint=python", f"metering/{service}", "-c", script)
    assert done.stdout.strip() == "10001 Read-only file system"


@pytest.mark.parametrize("service", SERVICES)
def test_no_tool_and_no_test_is_left_in_it(images: Engine, service: str) -> None:
    find = "find /opt/metering /usr/local -name tests -o -path '*/metering_*/test*'"
    gone = "for tool in pip pip3 uv hatchling gcc cc make git; do command -v $tool; done; python -m pip; true"
    arguments = ["run", "--rm", *CLOSED, "--entrypoint=sh", f"metering/{service}", "-c", f"{find}; {gone}"]
    done = images.run(*arguments)
    assert done.stdout == ""
    assert "No module named pip" in done.stderr


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_without_settings_it_names_what_is_missing(images: Engine, service: str) -> None:
    done = images.run("run", "--rm", *CLOSED, f"metering/{service}", check=False)
    assert done.returncode == 2
    assert re.search(r"^[A-Z_]+_URL: is not set|^KAFKA_BOOTSTRAP_SERVERS: is not set", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("service", LONG_RUNNING)
@pytest.mark.parametrize("after_seconds", [0.0, 5.0])
def test_it_ends_at_once_while_it_waits_for_others(images: Engine, service: str, after_seconds: float) -> None:
    """Process 1 has no default action for a signal: from its first moment on there must be a handler."""
    settings = [f"--env={name}={value}" for name, value in NOWHERE.items()]
    container = images.docker("run", "-d", *CLOSED, *settings, f"metering/{service}")
    try:
        time.sleep(after_seconds)
        images.docker("stop", "-t", "60", container)
        state = json.loads(images.docker("inspect", container))[0]["State"]
        assert state["ExitCode"] == 0, images.run("logs", container).stdout[-2000:]
    finally:
        images.docker("rm", "-fv", container)


@pytest.mark.parametrize("service", SERVICES)
def test_its_labels_and_its_health_check(images: Engine, service: str) -> None:
    config = json.loads(images.docker("image", "inspect", f"metering/{service}"))[0]["Config"]
    assert config["Labels"]["org.opencontainers.image.title"] == f"metering {service}"
    assert config["User"] == "10001:10001"
    assert config["Healthcheck"]["Test"][0] == "CMD"
    assert config["Entrypoint"][0] == "python"


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_secret_lies_in_its_layers(images: Engine, service: str, tmp_path: Path) -> None:
    """Neither what the build was given to reach the index, nor a key, nor an .env; and none in its history."""
    history = images.docker("history", "--no-trunc", f"metering/{service}")
    assert not re.search(r"https?://[^ ]*@|PASSWORD|TOKEN|secret=", history)
    images.docker("save", "-o", str(tmp_path / "image.tar"), f"metering/{service}")
    base = set(json.loads(images.docker("image", "inspect", BASE))[0]["RootFS"]["Layers"])
    layers = json.loads(images.docker("image", "inspect", f"metering/{service}"))[0]["RootFS"]["Layers"]
    given = {Path(part.split(",src=")[1]).read_bytes() for part in secrets_of_this_machine() if ",src=" in part}
    files = 0
    for name, content in _files_above(tmp_path / "image.tar", len(base)):
        files += 1
        assert name == PUBLIC or not SECRET_NAMES.search(name), name
        assert content not in given, name
        assert not re.search(rb"-----BEGIN (RSA |EC |ENCRYPTED )?PRIVATE KEY-----\n[A-Za-z0-9+/=]{40}", content), name
    assert files > 500
    assert set(layers) > base


def _files_above(image: Path, base_layers: int) -> "list[tuple[str, bytes]]":
    """Every file of the layers that the base does not have, with its content."""
    found = []
    with tarfile.open(image) as archive:
        manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]  # it is there
        for layer in manifest[0]["Layers"][base_layers:]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as files:
                members = [member for member in files.getmembers() if member.isfile()]
                found += [(member.name, files.extractfile(member).read()) for member in members]  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_it_is_no_larger_than_it_must_be(images: Engine, service: str) -> None:
    ours = (size_of(images, f"metering/{service}") - size_of(images, BASE)) / 1e6
    assert ours < LARGEST_MB, f"{ours:.0f} MB above its base"


def test_the_base_is_the_one_that_the_label_names() -> None:
    dockerfile = (ROOT / "deploy/docker/Dockerfile").read_text()
    assert dockerfile.count(BASE) == 2
