"""Fetches Kafka's jars once per checkout, and checks every byte of them before any measure goes through."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from metering_local.checkout import PROGRAMS, TOOLS
from metering_local.errors import EnvironmentProblemError

KAFKA_VERSION = "4.2.0"
COORDINATES = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36"
CHECKSUMS = Path(__file__).with_name("kafka_jars.sha256")


def jar_folder(tools: Path = TOOLS) -> Path:
    """The folder with exactly the pinned jars; fetches them if this checkout does not have them yet.

    Safe to be called by several processes at once. EnvironmentProblemError without network.
    """
    folder = tools / f"kafka-{KAFKA_VERSION}"
    if not folder.is_dir():
        tools.mkdir(parents=True, exist_ok=True)
        with (tools / "kafka.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _fetch_into(folder)
    return folder


def _fetch_into(folder: Path) -> None:
    scratch = folder.with_name(folder.name + ".fetching")
    shutil.rmtree(scratch, ignore_errors=True)
    cache = scratch / "cache"
    _resolve(cache, scratch / "m2")
    jars = scratch / "jars"
    jars.mkdir(parents=True)
    for jar in (cache / "envs").rglob("*.jar"):
        shutil.copyfile(jar, jars / jar.name)
    check_jars(jars)
    jars.rename(folder)  # at once, so that a broken fetch is never taken for a whole one
    shutil.rmtree(scratch)


def _resolve(cache: Path, repository: Path) -> None:
    options = ["--ignore-config", "--resolver=python", "--links=copy", "--class-path-only", "--timeout=60"]
    places = [f"--cache-dir={cache}", f"--repo-cache={repository}"]
    command = [str(PROGRAMS / "jgo"), *options, *places, "info", "classpath", COORDINATES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")  # noqa: S603  ours, no shell
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise EnvironmentProblemError(
            f"Kafka {KAFKA_VERSION} could not be fetched, and the first set-up needs the network: {reason}"
        )


def check_jars(jars: Path) -> None:
    """EnvironmentProblemError naming what is not as kafka_jars.sha256 says."""
    wanted = {name: digest for digest, name in map(str.split, CHECKSUMS.read_text().splitlines())}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars.iterdir()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        raise EnvironmentProblemError(f"Kafka's jars are not the pinned ones ({CHECKSUMS.name}): {', '.join(wrong)}")
