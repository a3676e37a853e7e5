"""The project's images as archives that the cluster's containerd imports, kept by the hash of what they are made of."""

import hashlib
import os
import subprocess
from pathlib import Path

from metering_cluster.binaries import cache
from metering_local.checkout import ROOT, TOOLS
from tests.images.build import build_all
from tests.images.engine import engine

SOURCES = (
    "requirements.lock",
    "VERSION",
    "pyproject.toml",
    "contracts",
    "deploy/docker",
    "deploy/jobs",
    "libs",
    "data/sensor_dictionary.json",
    "services",
)
REPOSITORY = "metering"
SERVICES = ("auth", "ingest-api", "validator", "writer", "ecl-poller", "prober", "jobs")


def project_archive() -> Path:
    """All images of this checkout, named by `tag()`; built with Docker unless they are there already."""
    archive = cache() / f"images-{tag()}.tar"
    if not archive.exists():
        _build(archive)
    return archive


def tag() -> str:
    """The same for the same sources."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *SOURCES],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    digest = hashlib.sha256()
    for name in sorted(listed):
        if "/tests/" not in name and (file := ROOT / name).is_file():
            digest.update(name.encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _build(archive: Path) -> None:
    """In an engine of our own, or DOCKER_HOST's; the archive stands under its name only when it is whole."""
    scratch = archive.with_suffix(f".{os.getpid()}")
    with engine(TOOLS / "docker") as docker:
        build_all(docker, SERVICES)
        names = [f"{REPOSITORY}/{service}:{tag()}" for service in SERVICES]
        for service, name in zip(SERVICES, names, strict=True):
            docker.docker("tag", f"{REPOSITORY}/{service}", name)
        docker.docker("save", "--output", str(scratch), *names)
    scratch.rename(archive)
