"""Fetches pinned jars once per checkout: parts of a measure's way are packaged only for the Java world."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from metering_local.checkout import PROGRAMS, TOOLS
from metering_local.errors import EnvironmentProblemError


def fetched(name: str, coordinates: str, wanted: dict[str, str], tools: Path = TOOLS) -> Path:
    """The folder `name` with exactly the jars `wanted` (SHA-256 by file name), fetched if it is not there yet.

    Safe to be called by several processes at once. EnvironmentProblemError without network, or for other bytes.
    """
    folder = tools / name
    if not folder.is_dir():
        tools.mkdir(parents=True, exist_ok=True)
        with (tools / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _fetch_into(folder, coordinates, wanted)
    return folder


def check_jars(jars: Path, wanted: dict[str, str]) -> None:
    """EnvironmentProblemError naming what is not as pinned."""
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.iterdir()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise EnvironmentProblemError(f"{jars.name} is not as pinned: {', '.join(wrong)}")


def _fetch_into(folder: Path, coordinates: str, wanted: dict[str, str]) -> None:
    scratch = folder.with_name(folder.name + ".fetching")
    shutil.rmtree(scratch, ignore_errors=True)
    cache = scratch / "cache"
    _resolve(coordinates, cache, scratch / "m2")
    jars = scratch / folder.name
    jars.mkdir(parents=True)
    for jar in (cache / "envs").rglob("*.jar"):
        shutil.copyfile(jar, jars / jar.name)
    check_jars(jars, wanted)
    jars.rename(folder)  # at once, so that a broken fetch is never taken for a whole one
    shutil.rmtree(scratch)


def _resolve(coordinates: str, cache: Path, repository: Path) -> None:
    options = ["--ignore-config", "--resolver=python", "--links=copy", "--class-path-only", "--timeout=60"]
    places = [f"--cache-dir={cache}", f"--repo-cache={repository}"]
    command = [str(PROGRAMS / "jgo"), *options, *places, "info", "classpath", coordinates]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")  # noqa: S603  ours, no shell
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        what = coordinates.split("+", maxsplit=1)[0]
        raise EnvironmentProblemError(f"{what} could not be fetched, and the first set-up needs the network: {reason}")
