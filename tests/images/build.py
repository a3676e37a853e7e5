"""Builds the images that measures pass through, on a stand-in base where the real one cannot be pulled.

    python -m tests.images.build FOLDER [SERVICE…]

prints how large each is and the engine's DOCKER_HOST, until Ctrl-C. FOLDER keeps an engine of our own between runs;
where DOCKER_HOST is set, that engine builds.
"""

import signal
import subprocess
import sys
from pathlib import Path

from metering_cluster.debian import have
from metering_local.checkout import ROOT, TOOLS
from tests.images.engine import Engine, engine, secrets_of_this_machine

SERVICES = (*sorted(file.parent.name for file in ROOT.glob("services/*/pyproject.toml")), "jobs")
BASE = "python:3.11-slim"
PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
VERSION = (ROOT / "VERSION").read_text().strip()
BASE_TAR = TOOLS / "image-base-bookworm.tar"


def build_all(engine: Engine, services: tuple[str, ...] = SERVICES) -> None:
    """The images `metering/<service>`; their base is made up if the engine does not have it and is our own."""
    if engine.own and not engine.has_image(BASE):
        make_base(engine)
    for service in services:
        build(engine, service)


def build(engine: Engine, service: str) -> None:
    arguments = ["--build-arg", f"SERVICE={service}", "--build-arg", f"VERSION={VERSION}"]
    what = ["-f", str(ROOT / "deploy/docker/Dockerfile"), *arguments]
    network = ["--network", "host"] if engine.own else []  # an own engine gives containers no way out
    engine.docker("build", "-q", *what, *network, *secrets_of_this_machine(), "-t", f"metering/{service}", str(ROOT))


def make_base(engine: Engine) -> None:
    """Debian bookworm with its Python 3.11 under the base image's name; fetched once per checkout."""
    if not BASE_TAR.exists():
        _fetch_base()
    engine.docker("import", "--change", f"ENV {PATH}", "--change", 'CMD ["python3"]', str(BASE_TAR), BASE)


def _fetch_base() -> None:
    have("debootstrap", "debootstrap")
    root = TOOLS / "image-base"
    packages = "--include=python3,python3-venv,ca-certificates"
    # It mounts /proc into what it makes, and may leave it there: in a namespace of its own nothing stays mounted.
    command = ["unshare", "--mount", "debootstrap", "--variant=minbase", packages, "bookworm", str(root)]
    TOOLS.mkdir(exist_ok=True)
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)
    subprocess.run(command, check=True, capture_output=True)
    for name in ("python", "python3", "python3.11"):  # where the real image has them
        (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.11")
    left_out = ["--exclude=./var/cache/apt/archives/*.deb", "--exclude=./var/lib/apt/lists/*"]
    scratch = BASE_TAR.with_suffix(".fetching")
    subprocess.run(["tar", "-C", str(root), *left_out, "-cf", str(scratch), "."], check=True)
    scratch.rename(BASE_TAR)
    subprocess.run(["rm", "-rf", "--one-file-system", str(root)], check=True)


def size_of(engine: Engine, image: str) -> int:
    """Of all its layers, in bytes."""
    return int(engine.docker("image", "inspect", "--format", "{{.Size}}", image))


def main(folder: Path, names: tuple[str, ...]) -> None:
    with engine(folder) as started:
        build_all(started, names or SERVICES)
        base = size_of(started, BASE)
        for name in names or SERVICES:
            size = size_of(started, f"metering/{name}")
            print(f"metering/{name:12} {(size - base) / 1e6:4.0f} MB above a base of {base / 1e6:.0f} MB")  # noqa: T201
        print(f"export DOCKER_HOST={started.host}", flush=True)  # noqa: T201  it is what the command is for
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main(Path(sys.argv[1]).resolve(), tuple(sys.argv[2:]))
