"""A PostgreSQL with OpenSSL (the packaged one has none), for tests in which a measure's last stop is behind TLS."""

import platform
import shutil
import tarfile
import zipfile
from pathlib import Path

from metering_local.authority import Certificate
from metering_local.checkout import TOOLS
from metering_local.errors import EnvironmentProblemError
from metering_local.jars import fetched
from metering_local.postgres_user import OPEN_PLACE, is_reachable, server_user

VERSION = "18.1.0"
_GROUP = "io.zonky.test.postgres"
_BUILDS = {
    ("Linux", "x86_64"): ("linux-amd64", "65d0723e0274ad3ec6230dcbdfe034af6ee096fce15a77b0f9b8be71d2702934"),
    ("Linux", "aarch64"): ("linux-arm64v8", "ea0f16b754fc0a10d9d8993bbd426c20f8c709b318b28e49b42d9cac1c958b8f"),
    ("Darwin", "x86_64"): ("darwin-amd64", "3b4f16dcf57250d8f9c5e9270a7dfc3921b66d66534d00f8f366e8263e862d11"),
    ("Darwin", "arm64"): ("darwin-arm64v8", "7398c6c19d11594a944dc0ddc79fdbb611164312e1f509a8c86b09724027401e"),
}
HOST_RULES = """\
hostssl all all      127.0.0.1/32 scram-sha-256
host    all postgres 127.0.0.1/32 scram-sha-256
"""
"""Only the superuser of this machine may come without TLS: the packaged psql has none."""


def tls_binaries() -> Path:
    """The folder of initdb and postgres, reachable by the user that runs them; fetched on first use."""
    build, digest = _build()
    artifact = f"embedded-postgres-binaries-{build}"
    jars = fetched(f"postgres-tls-{VERSION}", f"{_GROUP}:{artifact}:{VERSION}", {f"{artifact}-{VERSION}.jar": digest})
    place = TOOLS if server_user() is None or is_reachable(TOOLS) else OPEN_PLACE
    return _unpacked(jars / f"{artifact}-{VERSION}.jar", place / f"postgres-tls-{VERSION}-{build}") / "bin"


def options(data: Path) -> dict[str, str]:
    """What the server is told."""
    return {"ssl": "on", "ssl_cert_file": str(data / "server.crt"), "ssl_key_file": str(data / "server.key")}


def install(data: Path, certificate: Certificate) -> None:
    """The server's certificate and its rules into its data folder, as files of the user that runs it."""
    for source, name in ((certificate.certificate, "server.crt"), (certificate.key, "server.key")):
        target = data / name
        target.touch(mode=0o600)
        target.write_bytes(source.read_bytes())
        if user := server_user():
            shutil.chown(target, user, user)
    (data / "pg_hba.conf").write_text(HOST_RULES)


def _build() -> tuple[str, str]:
    here = platform.system(), platform.machine()
    if here not in _BUILDS:
        raise EnvironmentProblemError(f"no PostgreSQL with TLS is pinned for {' '.join(here)}")
    return _BUILDS[here]


def _unpacked(jar: Path, folder: Path) -> Path:
    if not folder.is_dir():
        scratch = folder.with_name(f"{folder.name}.unpacking")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True, mode=0o755)
        with zipfile.ZipFile(jar) as archive:
            (packed,) = (name for name in archive.namelist() if name.endswith(".txz"))
            with archive.open(packed) as file, tarfile.open(fileobj=file, mode="r:xz") as tar:
                tar.extractall(scratch, filter="data")
        scratch.rename(folder)
    return folder
