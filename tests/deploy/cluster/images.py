"""The project's images as archives that the cluster's containerd imports, kept by the hash of what they are made of."""

import hashlib
import json
import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

from metering_local.checkout import ROOT, TOOLS
from tests.deploy.cluster.binaries import cache, program
from tests.deploy.cluster.daemons import PAUSE_IMAGE
from tests.images.build import build_all
from tests.images.engine import engine

SOURCES = (
    "requirements.lock",
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


def pause_archive(folder: Path) -> Path:
    """An image with one static program, made by hand: no engine is needed for it."""
    archive = folder / "pause.tar"
    layer = BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(program("pause"), "pause")
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/pause"], "User": "65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }  # fmt: skip
    manifest = [{"Config": "config.json", "RepoTags": [PAUSE_IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as tar:
        _add(tar, "layer.tar", layer.getvalue())
        _add(tar, "config.json", json.dumps(config).encode())
        _add(tar, "manifest.json", json.dumps(manifest).encode())
    return archive


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, BytesIO(content))


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
