"""The image that holds a pod's namespaces open: one static program, archived by hand."""

import hashlib
import json
import tarfile
from io import BytesIO
from pathlib import Path

from metering_cluster.binaries import program
from metering_cluster.daemons import PAUSE_IMAGE


def pause_archive(folder: Path) -> Path:
    """Returns the archive, written into `folder`; no container engine is needed for it."""
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
